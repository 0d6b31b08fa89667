"""From what the heads predict to the crystals that sampling starts from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cdvae.crystal import CrystalBatch
from cdvae.model.heads import Heads


def round_counts(fractions: Tensor, n_atoms: Tensor) -> Tensor:
    """(B, Z) whole atoms of each element from element fractions.

    Largest remainders: every element gets the floor of its expected count, the atoms still missing
    go to the largest fractional parts. Deterministic, always complete, never an element of zero
    probability while another one is left.

    Args:
        fractions: (B, Z), rows add up to one.
        n_atoms: (B,) atoms wanted.
    """
    # A head that is sure to 1e-6 must not lose an atom to rounding of 0.999999.
    expected = fractions.double() * n_atoms[:, None] + 1e-6
    counts = expected.floor()
    missing = n_atoms - counts.sum(-1)
    order = (expected - counts).argsort(dim=-1, descending=True, stable=True)
    rank = order.argsort(dim=-1)
    return (counts + (rank < missing[:, None])).long()


def species_of(counts: Tensor) -> Tensor:
    """(A,) the atomic numbers that ``counts`` (B, Z) stand for, ascending in each crystal."""
    classes = torch.arange(1, counts.shape[1] + 1, device=counts.device)
    return classes.repeat(len(counts)).repeat_interleave(counts.flatten())


def read_counts(heads: Heads, latents: Tensor) -> Tensor:
    """(B, Z) the atoms of each element that the heads read from ``latents`` (B, D)."""
    attributes = heads(latents)
    n_atoms = attributes.num_atoms_logits.argmax(-1)
    return round_counts(attributes.composition_logits.softmax(-1), n_atoms)


def start_crystals(heads: Heads, latents: Tensor, rngs: Sequence[torch.Generator]) -> CrystalBatch:
    """Crystals with the size, cell and composition that the heads predict and uniform coordinates.

    Args:
        heads: the trained heads.
        latents: (B, D).
        rngs: one CPU generator a crystal.
    """
    counts = read_counts(heads, latents)
    n_atoms = counts.sum(-1)
    lattice = heads.lattice_of(heads(latents).log_metric, n_atoms)
    parts = [torch.rand(n, 3, generator=rng) for n, rng in zip(n_atoms.tolist(), rngs, strict=True)]
    return CrystalBatch(torch.cat(parts).to(lattice), species_of(counts), lattice, n_atoms)
