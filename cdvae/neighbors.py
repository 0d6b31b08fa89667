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
    """Directed edges source → target, sorted by target; each comes with its reverse."""

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
    device = crystals.frac.device
    reach = images_within(crystals.lattice, cutoff)
    spans = 2 * reach + 1
    n_images = spans.prod(-1)
    candidates = crystals.n_atoms**2 * n_images
    total = int(candidates.sum())

    owner = torch.arange(len(crystals), device=device)
    owner = owner.repeat_interleave(candidates, output_size=total)
    first = candidates.cumsum(0) - candidates
    within = torch.arange(total, device=device) - first[owner]
    pair = within // n_images[owner]
    code = within - pair * n_images[owner]
    n = crystals.n_atoms[owner]
    atom = (crystals.n_atoms.cumsum(0) - crystals.n_atoms)[owner]
    local = pair // n
    target = atom + local
    source = atom + pair - local * n

    span = spans[owner]
    plane = code // span[:, 2]
    row = plane // span[:, 1]
    digits = torch.stack([row, plane - row * span[:, 1], code - plane * span[:, 2]], -1)
    offset = digits - reach[owner]

    difference = crystals.frac[source] - crystals.frac[target]
    nearest = difference.round()
    difference = difference - nearest + offset
    vector = (difference[:, :, None] * crystals.lattice[owner]).sum(1)
    length = vector.norm(dim=-1)
    itself = (source == target) & (offset == 0).all(-1)
    keep = ((length < cutoff[owner]) & ~itself).nonzero().squeeze(-1)
    return Edges(
        source[keep],
        target[keep],
        offset[keep] - nearest[keep].long(),
        vector[keep],
        length[keep],
    )
