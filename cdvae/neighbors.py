"""The periodic multigraph: every pair of atoms and images within a cutoff, none left out.

There is no cap on the number of neighbours, so no tie is broken by the order of the atoms, and as
many images are searched as the cell needs (the original cuts shells at 20 neighbours and looks at
27 images).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cdvae.crystal import CrystalBatch
from cdvae.lattice import images_within


@dataclass(frozen=True)
class Edges:
    """Directed edges source → target; each comes with its reverse."""

    source: Tensor  # (E,) int64
    target: Tensor  # (E,) int64
    image: Tensor  # (E, 3) int64, cell of the source relative to the target's
    vector: Tensor  # (E, 3) Å, from target to source: (frac_s + image - frac_t) @ lattice
    length: Tensor  # (E,) Å


def periodic_edges(crystals: CrystalBatch, cutoff: Tensor) -> Edges:
    """All edges shorter than ``cutoff`` Å; a crystal may have none.

    An atom is its own neighbour through an image, never at distance zero.

    Args:
        crystals: B crystals.
        cutoff: (B,) Å, one radius a crystal.
    """
    n_atoms, owner = crystals.n_atoms, crystals.owner
    first = n_atoms.cumsum(0) - n_atoms
    b, n = len(crystals), int(n_atoms.max())
    place = owner * n + torch.arange(len(owner), device=owner.device) - first[owner]
    frac = crystals.frac.new_full((b * n, 3), torch.nan)  # rows without an atom are near nothing
    frac = frac.index_copy(0, place, crystals.frac).view(b, n, 3)
    difference = frac[:, None] - frac[:, :, None]  # axes: crystal, target, source
    nearest = difference.round()
    base = torch.einsum("btsi,bij->btsj", difference - nearest, crystals.lattice)

    crystal, offset = _images(images_within(crystals.lattice, cutoff))
    shift = torch.einsum("ki,kij->kj", offset.to(base), crystals.lattice[crystal])
    vector = base.index_select(0, crystal) + shift[:, None, None]
    squared = vector.square().sum(-1)
    near = squared < (cutoff**2)[crystal, None, None]
    home = (offset == 0).all(-1)
    itself = torch.eye(n, dtype=torch.bool, device=owner.device)
    found, target, source = (near & ~(home[:, None, None] & itself)).nonzero(as_tuple=True)

    vector = vector[found, target, source]
    crystal = crystal[found]
    image = offset[found] - nearest[crystal, target, source].long()
    return Edges(
        first[crystal] + source, first[crystal] + target, image, vector, vector.norm(dim=-1)
    )


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
