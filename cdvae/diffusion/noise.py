"""Corruption of crystals: noise levels, noisy crystals and the score they should produce."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch_geometric.utils import scatter

from cdvae.geometry.crystal import CrystalBatch
from cdvae.geometry.lattice import inverse
from cdvae.geometry.torus import wrap, wrapped_normal_score


@dataclass(frozen=True)
class NoiseSchedule:
    """The range of noise levels, each crystal's own.

    At 0.4 of the longest cell vector the wrapped normal is uniform to 4 %; more noise would teach
    nothing and less would not join the uniform start of the samplers.
    """

    largest: float  # of the longest vector of the cell
    smallest: float  # Å

    def _at(self, crystals: CrystalBatch, place: Tensor) -> Tensor:
        """Levels at ``place`` (…, B) between 0, the largest, and 1, the smallest, in log σ; Å."""
        top = (self.largest * crystals.lattice.norm(dim=-1).amax(-1)).log()
        return (top + (math.log(self.smallest) - top) * place.to(top)).exp()

    def ladder(self, crystals: CrystalBatch, levels: int) -> Tensor:
        """Return (L, B): descending levels with a constant ratio, Å (NCSNv2)."""
        place = torch.linspace(0, 1, levels)[:, None].expand(levels, len(crystals))
        return self._at(crystals, place)

    def draw(self, crystals: CrystalBatch, rng: torch.Generator) -> Tensor:
        """(B,) levels uniform in log σ between the two ends, continuous and stratified, Å."""
        n, device = len(crystals), crystals.lattice.device
        place = (torch.arange(n, device=device) + torch.rand(n, generator=rng, device=device)) / n
        return self._at(crystals, place[torch.randperm(n, generator=rng, device=device)])


@dataclass(frozen=True)
class NoisyBatch:
    """Crystals before and after corruption."""

    clean: CrystalBatch
    noisy: CrystalBatch
    sigma: Tensor  # (B,) Å
    target: Tensor  # (A, 3) Å⁻¹, score of the wrapped normal without its mean over the crystal


def remove_mean(vectors: Tensor, crystals: CrystalBatch) -> Tensor:
    """Return (A, 3): ``vectors`` less their mean over each crystal: common shifts mean nothing."""
    batch = crystals.batch
    return vectors - scatter(vectors, batch, 0, len(crystals), reduce="mean")[batch]


def shuffle_rate(sigma: Tensor) -> Tensor:
    """Return (B,): probability that an atom takes part in a shuffle of species at noise level σ Å.

    It rises from 0.2 to 0.5 about σ = 0.5 Å, where atoms begin to lose their sites. It stays well
    above zero at small σ, so that the network learns to recognize two elements that have settled on
    each other's sites. The composition of a crystal never changes, only the assignment of species
    to atoms, because the sampler starts from the exact composition too.
    """
    return 0.2 + 0.3 * sigma**2 / (sigma**2 + 0.25)


def shuffle_species(crystals: CrystalBatch, rate: Tensor, rng: torch.Generator) -> Tensor:
    """(A,) species, permuted within each crystal among a share ``rate`` (B,) of its atoms."""
    device = crystals.frac_coords.device
    batch = crystals.batch
    draw = torch.rand(len(batch), generator=rng, device=device)
    chosen = (draw < rate[batch]).nonzero().squeeze(-1)
    keys = batch[chosen] + torch.rand(len(chosen), generator=rng, device=device).double()
    atomic_numbers = crystals.atomic_numbers.clone()
    atomic_numbers[chosen] = crystals.atomic_numbers[chosen[keys.argsort()]]
    return atomic_numbers


def corrupt(crystals: CrystalBatch, sigma: Tensor, rng: torch.Generator) -> NoisyBatch:
    """Normal noise of width ``sigma`` (B,) Å on the coordinates, shuffled species."""
    noise = torch.randn(
        crystals.frac_coords.shape, generator=rng, device=crystals.frac_coords.device
    )
    cart = remove_mean(noise * sigma[crystals.batch, None], crystals)
    step = torch.einsum("ai,aij->aj", cart, inverse(crystals.lattice)[crystals.batch])
    score = wrapped_normal_score(step, crystals.lattice[crystals.batch], sigma[crystals.batch])
    noisy = crystals.replace(
        frac_coords=wrap(crystals.frac_coords + step),
        atomic_numbers=shuffle_species(crystals, shuffle_rate(sigma), rng),
    )
    target = remove_mean(score, crystals) / sigma[crystals.batch, None]
    return NoisyBatch(crystals, noisy, sigma, target)
