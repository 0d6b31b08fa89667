"""From what the heads predict to the crystals that sampling starts from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cdvae.crystal import CrystalBatch
from cdvae.model.cdvae import CDVAE
from cdvae.model.decoder import Condition
from cdvae.model.encoder import Latents
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


def begin(
    network: CDVAE,
    latents: Latents,
    rngs: Sequence[torch.Generator],
) -> tuple[CrystalBatch, Condition]:
    """The crystals that sampling starts from, and what they are decoded from.

    N, cell and composition are those that the heads read from z, the coordinates are uniform. Where
    an atom has a code, the code says its element; codes of another number of atoms than z says are
    dropped.

    Args:
        network: the trained network.
        latents: of B crystals.
        rngs: one CPU generator a crystal.
    """
    heads, z, code_dim = network.heads, latents.z, network.config.code_dim
    counts = read_counts(heads, z)
    n_atoms = counts.sum(-1)
    lattice = heads.lattice_of(heads(z).log_metric, n_atoms)
    sizes = n_atoms.tolist()
    frac = torch.cat([torch.rand(n, 3, generator=rng) for n, rng in zip(sizes, rngs, strict=True)])
    crystals = CrystalBatch(frac.to(lattice), species_of(counts), lattice, n_atoms)
    coded = latents.n_codes == n_atoms
    codes = z.new_zeros(len(frac), code_dim)
    species = crystals.species.clone()
    if code_dim and coded.any():
        own = latents.codes[coded.repeat_interleave(latents.n_codes)]
        given = coded[crystals.owner]
        codes[given] = own
        species[given] = heads.species_logits(own).argmax(-1) + 1
    return crystals.replace(species=species), Condition(z, codes, coded, n_atoms)
