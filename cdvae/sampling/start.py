"""From what the heads predict to the crystals that sampling starts from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cdvae.crystal import CrystalBatch
from cdvae.model.decoder import Condition
from cdvae.model.encoder import Latents
from cdvae.model.heads import Heads
from cdvae.model.prior import LatentPrior

CODE_STEPS = 20
"""Of Heun's method, from noise to the codes of the prior."""


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
    heads: Heads,
    prior: LatentPrior,
    latents: Latents,
    blur: float,
    rngs: Sequence[torch.Generator],
) -> tuple[CrystalBatch, Condition]:
    """The crystals that sampling starts from, and what they are decoded from.

    N, cell and composition are those that the heads read from z, the coordinates are uniform. Where
    an atom has a code, the code says its element; a crystal without codes, or with codes of
    another number of atoms than z says, gets codes from the prior, which are blurred.

    Args:
        heads: the trained heads.
        prior: the trained prior.
        latents: of B crystals.
        blur: 0 to 1, how far codes from the prior are distrusted.
        rngs: one CPU generator a crystal.
    """
    z = latents.z
    counts = read_counts(heads, z)
    n_atoms = counts.sum(-1)
    lattice = heads.lattice_of(heads(z).log_metric, n_atoms)
    sizes = n_atoms.tolist()
    frac = torch.cat([torch.rand(n, 3, generator=rng) for n, rng in zip(sizes, rngs, strict=True)])
    crystals = CrystalBatch(frac.to(lattice), species_of(counts), lattice, n_atoms)
    if prior.codes is None:
        none = Condition(z, z.new_zeros(len(frac), 0), z.new_zeros(len(z)), n_atoms)
        return crystals, none
    fits = latents.n_codes == n_atoms
    given = fits[crystals.owner]
    codes = z.new_empty(len(given), len(prior.codes.mean))
    species = crystals.species.clone()
    if fits.any():
        own = latents.codes[fits.repeat_interleave(latents.n_codes)]
        codes[given] = own
        species[given] = heads.species_logits(own).argmax(-1) + 1
    without = (~fits).nonzero().squeeze(-1).tolist()
    if without:
        chosen = [rngs[i] for i in without]
        codes[~given] = draw_codes(prior, z[without], crystals.select(without), chosen)
    blurs = torch.where(fits, 0.0, blur).to(z)
    return crystals.replace(species=species), Condition(z, codes, blurs, n_atoms)


def draw_codes(
    prior: LatentPrior, z: Tensor, crystals: CrystalBatch, rngs: Sequence[torch.Generator]
) -> Tensor:
    """(A, K) codes from the prior for the elements of ``crystals`` and their z (B, D)."""
    width = len(prior.codes.mean)
    sizes = zip(crystals.n_atoms.tolist(), rngs, strict=True)
    noise = torch.cat([torch.randn(n, width, generator=rng) for n, rng in sizes]).to(z)
    latents = prior.standardised(z)
    return prior.codes.transport(noise, latents, crystals.species, crystals.owner, CODE_STEPS)
