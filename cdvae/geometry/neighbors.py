"""The periodic multigraph: every pair of atoms and images within a cutoff, none left out.

There is no cap on the number of neighbors, so no tie is broken by the order of the atoms, and as
many images are searched as the cell needs (the original cuts shells at 20 neighbors and looks at
27 images).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cdvae.geometry.crystal import CrystalBatch
from cdvae.geometry.lattice import images_within


@dataclass(frozen=True)
class Edges:
    """Directed edges source → target; each comes with its reverse."""

    source: Tensor  # (E,) int64
    target: Tensor  # (E,) int64
    image: Tensor  # (E, 3) int64, cell of the source relative to the target's
    vector: Tensor  # (E, 3) Å, from target to source: (frac_s + image - frac_t) @ lattice
    length: Tensor  # (E,) Å


@dataclass(frozen=True)
class Pairs:
    """Edges by their place in a batch padded to N atoms a crystal."""

    pair: Tensor  # (E,) int64, (crystal · N + target) · N + source
    image: Tensor  # (E,) int64, row among the images of the search
    nearest: Tensor  # (B·N², 3) cell of the nearest image by fractional coordinates
    vector: Tensor  # (3, E) Å, from target to source
    length: Tensor  # (E,) Å


class NeighborSearch:
    """The search in fixed cells for atoms that move: what the cells alone decide is done once.

    Args:
        crystals: B crystals with A atoms; only their cells and sizes are looked at.
        cutoff: (B,) Å, one radius a crystal.
    """

    def __init__(self, crystals: CrystalBatch, cutoff: Tensor) -> None:
        num_atoms, self.batch = crystals.num_atoms, crystals.batch
        self.lattice, self.cutoff = crystals.lattice, cutoff
        self.first = num_atoms.cumsum(0) - num_atoms
        self.crystals, self.largest = len(crystals), int(num_atoms.max())
        within = torch.arange(len(self.batch), device=self.batch.device) - self.first[self.batch]
        self.place = self.batch * self.largest + within
        self.crystal, self.offset = _images(images_within(crystals.lattice, cutoff))
        shift = torch.einsum("ki,kij->kj", self.offset.to(cutoff), crystals.lattice[self.crystal])
        self._shift = shift.T.contiguous()  # (3, K) Å
        self._limit = (cutoff**2)[self.crystal, None]
        home = (self.offset == 0).all(-1).nonzero()
        diagonal = torch.arange(self.largest, device=home.device) * (self.largest + 1)
        self._itself = (home * self.largest**2 + diagonal).flatten()

    def pairs(self, frac_coords: Tensor) -> Pairs:
        """Return all that are nearer than the cutoff, atoms being at ``frac_coords`` (A, 3)."""
        b, n = self.crystals, self.largest
        padded = frac_coords
        if len(frac_coords) < b * n:  # rows without an atom are near nothing
            padded = frac_coords.new_full((b * n, 3), torch.nan).index_copy(
                0, self.place, frac_coords
            )
        padded = padded.view(b, n, 3)
        difference = padded[:, None] - padded[:, :, None]  # axes: crystal, target, source
        nearest = difference.round()
        base = torch.matmul((difference - nearest).view(b, n * n, 3), self.lattice)
        # Component by component: an axis of length three is slow to go along.
        axes = [
            plane.contiguous().index_select(0, self.crystal) + shift[:, None]
            for plane, shift in zip(base.unbind(-1), self._shift, strict=True)
        ]
        squared = axes[0] * axes[0] + axes[1] * axes[1] + axes[2] * axes[2]
        near = squared < self._limit
        near.view(-1)[self._itself] = False
        hits = near.view(-1).nonzero().squeeze(-1)
        image = hits.div(n * n, rounding_mode="floor")
        vector = torch.stack([axis.view(-1).index_select(0, hits) for axis in axes])
        length = squared.view(-1).index_select(0, hits).sqrt()
        pair = self.crystal.index_select(0, image) * (n * n) + (hits - image * (n * n))
        return Pairs(pair, image, nearest.view(b * n * n, 3), vector, length)


def periodic_edges(crystals: CrystalBatch, cutoff: Tensor) -> Edges:
    """Return all edges shorter than ``cutoff`` Å; a crystal may have none.

    An atom is its own neighbor through an image, never at distance zero.

    Args:
        crystals: B crystals.
        cutoff: (B,) Å, one radius a crystal.
    """
    search = NeighborSearch(crystals, cutoff)
    found, n = search.pairs(crystals.frac_coords), search.largest
    crystal = search.crystal[found.image]
    target, source = found.pair // n % n, found.pair % n
    image = search.offset[found.image] - found.nearest[found.pair].long()
    first = search.first[crystal]
    return Edges(first + source, first + target, image, found.vector.T, found.length)


def _images(reach: Tensor) -> tuple[Tensor, Tensor]:
    """(K,) crystal and (K, 3) offset of every image within ``reach`` (B, 3) of every crystal."""
    span = 2 * reach + 1
    count = span.prod(-1)
    crystal = torch.arange(len(reach), device=reach.device).repeat_interleave(count)
    code = torch.arange(len(crystal), device=reach.device) - (count.cumsum(0) - count)[crystal]
    span = span[crystal]
    row = code // span[:, 2]
    digits = torch.stack([row // span[:, 1], row % span[:, 1], code % span[:, 2]], -1)
    return crystal, digits - reach[crystal]
