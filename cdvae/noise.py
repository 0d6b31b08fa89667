"""Corruption of crystals: noise levels, noisy crystals and the score they should produce."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch_geometric.utils import scatter

from cdvae.crystal import CrystalBatch
from cdvae.lattice import inverse
from cdvae.torus import wrap, wrapped_normal_score


@dataclass(frozen=True)
class NoiseSchedule:
    """Noise levels in Å, descending."""

    sigmas: Tensor  # (L,) Å

    @staticmethod
    def geometric(largest: float, smallest: float, levels: int) -> NoiseSchedule:
        """L levels with a constant ratio from ``largest`` to ``smallest`` Å (NCSNv2)."""
        return NoiseSchedule(torch.logspace(0, 1, levels, base=smallest / largest) * largest)

    def draw(self, n: int, rng: torch.Generator) -> Tensor:
        """(n,) levels uniform in log σ between the two ends, continuous and stratified."""
        log = self.sigmas.log()
        grid = (
            torch.arange(n, device=log.device) + torch.rand(n, generator=rng, device=log.device)
        ) / n
        shuffled = grid[torch.randperm(n, generator=rng, device=log.device)]
        return (log[-1] + (log[0] - log[-1]) * shuffled).exp()


@dataclass(frozen=True)
class NoisyBatch:
    """Crystals before and after corruption."""

    clean: CrystalBatch
    noisy: CrystalBatch
    sigma: Tensor  # (B,) Å
    target: Tensor  # (A, 3) Å⁻¹, score of the wrapped normal without its mean over the crystal


def remove_mean(vectors: Tensor, crystals: CrystalBatch) -> Tensor:
    """(A, 3) ``vectors`` less their mean over each crystal: common shifts mean nothing."""
    owner = crystals.owner
    return vectors - scatter(vectors, owner, 0, len(crystals), reduce="mean")[owner]


def shuffle_rate(sigma: Tensor) -> Tensor:
    """(B,) probability that an atom takes part in a shuffle of species at noise level σ Å.

    It rises from 0.2 to 0.5 about σ = 0.5 Å, where atoms begin to lose their sites. It stays well
    above zero at small σ, so that the network learns to recognise two elements that have settled on
    each other's sites. The composition of a crystal never changes, only the assignment of species
    to atoms, because the sampler starts from the exact composition too.
    """
    return 0.2 + 0.3 * sigma**2 / (sigma**2 + 0.25)


def shuffle_species(crystals: CrystalBatch, rate: Tensor, rng: torch.Generator) -> Tensor:
    """(A,) species, permuted within each crystal among a share ``rate`` (B,) of its atoms."""
    device = crystals.frac.device
    owner = crystals.owner
    draw = torch.rand(len(owner), generator=rng, device=device)
    chosen = (draw < rate[owner]).nonzero().squeeze(-1)
    keys = owner[chosen] + torch.rand(len(chosen), generator=rng, device=device).double()
    species = crystals.species.clone()
    species[chosen] = crystals.species[chosen[keys.argsort()]]
    return species


def corrupt(crystals: CrystalBatch, sigma: Tensor, rng: torch.Generator) -> NoisyBatch:
    """Normal noise of width ``sigma`` (B,) Å on the coordinates, shuffled species."""
    noise = torch.randn(crystals.frac.shape, generator=rng, device=crystals.frac.device)
    cart = remove_mean(noise * sigma[crystals.owner, None], crystals)
    step = torch.einsum("ai,aij->aj", cart, inverse(crystals.lattice)[crystals.owner])
    score = wrapped_normal_score(step, crystals.lattice[crystals.owner], sigma[crystals.owner])
    noisy = crystals.replace(
        frac=wrap(crystals.frac + step),
        species=shuffle_species(crystals, shuffle_rate(sigma), rng),
    )
    target = remove_mean(score, crystals) / sigma[crystals.owner, None]
    return NoisyBatch(crystals, noisy, sigma, target)
