"""The periodic multigraph: all pairs of atoms, images included, within a cutoff.

The number of neighbors is not limited, so the order of the atoms breaks no ties, and the search
covers as many images as the cell needs. (The original keeps 20 neighbors out of 27 images.)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cdvae.geometry.crystal import CrystalBatch
from cdvae.geometry.lattice import images_within


@dataclass(frozen=True)
class Pairs:
    """Directed edges source → target of a batch that is padded to N atoms per crystal."""

    pair: Tensor  # (E,) int64, (crystal · N + target) · N + source
    image: Tensor  # (E,) int64, row among the images of the search
    nearest: Tensor  # (B·N², 3) cell of the nearest image by fractional coordinates
    vector: Tensor  # (3, E) Å, from target to source
    length: Tensor  # (E,) Å


class NeighborSearch:
    """A search for neighbors in fixed cells while the atoms move.

    The images to search depend only on the cells and are listed once.

    Args:
        crystals: B crystals with A atoms; their coordinates are not used.
        cutoff: (B,) Å, one radius per crystal.
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
        """Return all pairs within the cutoff for atoms at ``frac_coords`` (A, 3)."""
        b, n = self.crystals, self.largest
        padded = frac_coords
        if len(frac_coords) < b * n:  # NaN: empty rows have no neighbors
            padded = frac_coords.new_full((b * n, 3), torch.nan).index_copy(
                0, self.place, frac_coords
            )
        padded = padded.view(b, n, 3)
        difference = padded[:, None] - padded[:, :, None]  # axes: crystal, target, source
        nearest = difference.round()
        base = torch.matmul((difference - nearest).view(b, n * n, 3), self.lattice)
        # One component at a time: loops over an axis of length three are slow.
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


def _images(reach: Tensor) -> tuple[Tensor, Tensor]:
    """Return the crystal (K,) and the offset (K, 3) of all images within ``reach`` (B, 3)."""
    span = 2 * reach + 1
    count = span.prod(-1)
    crystal = torch.arange(len(reach), device=reach.device).repeat_interleave(count)
    code = torch.arange(len(crystal), device=reach.device) - (count.cumsum(0) - count)[crystal]
    span = span[crystal]
    row = code // span[:, 2]
    digits = torch.stack([row // span[:, 1], row % span[:, 1], code % span[:, 2]], -1)
    return crystal, digits - reach[crystal]
