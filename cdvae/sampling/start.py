"""From what the heads predict to the crystals that sampling starts from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cdvae.crystal import CrystalBatch
from cdvae.model.heads import Heads


def round_composition(fractions: Tensor, n_atoms: Tensor) -> Tensor:
    """(A,) species of each crystal, ascending: its fractions rounded to whole atoms.

    Largest remainders: every element gets the floor of its expected count, the atoms still missing
    go to the largest fractional parts. Deterministic, always complete, never an element of zero
    probability while another one is left.

    Args:
        fractions: (B, Z) element fractions, rows add up to one.
        n_atoms: (B,) atoms wanted.
    """
    # A head that is sure to 1e-6 must not lose an atom to rounding of 0.999999.
    expected = fractions.double() * n_atoms[:, None] + 1e-6
    counts = expected.floor()
    missing = n_atoms - counts.sum(-1)
    order = (expected - counts).argsort(dim=-1, descending=True, stable=True)
    rank = order.argsort(dim=-1)
    counts = (counts + (rank < missing[:, None])).long()
    classes = torch.arange(1, fractions.shape[1] + 1, device=fractions.device)
    return classes.repeat(len(fractions)).repeat_interleave(counts.flatten())


def start_crystals(heads: Heads, latents: Tensor, rngs: Sequence[torch.Generator]) -> CrystalBatch:
    """Crystals with the size, cell and composition that the heads predict and uniform coordinates.

    Args:
        heads: the trained heads.
        latents: (B, D).
        rngs: one CPU generator a crystal.
    """
    attributes = heads(latents)
    n_atoms = attributes.num_atoms_logits.argmax(-1)
    species = round_composition(attributes.composition_logits.softmax(-1), n_atoms)
    lattice = heads.lattice_of(attributes.log_metric, n_atoms)
    parts = [torch.rand(n, 3, generator=rng) for n, rng in zip(n_atoms.tolist(), rngs, strict=True)]
    return CrystalBatch(torch.cat(parts).to(lattice), species, lattice, n_atoms)
