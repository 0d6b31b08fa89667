"""From what the heads predict to the crystals that sampling starts from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cdvae.crystal import CrystalBatch
from cdvae.model.heads import Heads


def likeliest_counts(logits: Tensor, n_atoms: Tensor) -> Tensor:
    """(B, Z) the likeliest number of atoms of each element that make up ``n_atoms`` together.

    Exact, by dynamic programming over the elements: the best score of every number of atoms so far.

    Args:
        logits: (B, Z, N+1) of each count of each element, independent of each other.
        n_atoms: (B,) atoms wanted, at most N.
    """
    log = logits.log_softmax(-1)
    size = log.shape[2]
    # (total, count): atoms before this element, where that is possible
    before = torch.arange(size)[:, None] - torch.arange(size)
    possible = (before >= 0).to(log.device)
    before = before.clamp(min=0).to(log.device)
    best = log.new_full((len(log), size), -torch.inf)
    best[:, 0] = 0
    choices = []
    for element in log.unbind(1):
        score = (best[:, before] + element[:, None]).masked_fill(~possible, -torch.inf)
        best, choice = score.max(-1)
        choices.append(choice)
    left, counts = n_atoms.clone(), []
    for choice in reversed(choices):
        count = choice.gather(1, left[:, None]).squeeze(1)
        counts.append(count)
        left = left - count
    return torch.stack(counts[::-1], 1)


def species_of(counts: Tensor) -> Tensor:
    """(A,) the atomic numbers that ``counts`` (B, Z) stand for, ascending in each crystal."""
    classes = torch.arange(1, counts.shape[1] + 1, device=counts.device)
    return classes.repeat(len(counts)).repeat_interleave(counts.flatten())


def read_counts(heads: Heads, latents: Tensor) -> Tensor:
    """(B, Z) the atoms of each element that the heads read from ``latents`` (B, D)."""
    attributes = heads(latents)
    n_atoms = attributes.num_atoms_logits.argmax(-1)
    return likeliest_counts(attributes.count_logits, n_atoms)


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
