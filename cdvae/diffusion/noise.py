"""Corruption of crystals: noise levels, noisy crystals and their exact score."""

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
    """The range of the noise levels; its upper end depends on the cell.

    At 0.4 of the longest cell vector the wrapped normal is uniform to 4 %. More noise would teach
    nothing; with less, the samplers could not start from uniform positions.
    """

    largest: float  # in units of the longest cell vector
    smallest: float  # Å

    def _at(self, crystals: CrystalBatch, place: Tensor) -> Tensor:
        """Return levels (…, B), Å; ``place`` (…, B) runs from 0 (largest) to 1, linear in log σ."""
        top = (self.largest * crystals.lattice.norm(dim=-1).amax(-1)).log()
        return (top + (math.log(self.smallest) - top) * place.to(top)).exp()

    def ladder(self, crystals: CrystalBatch, levels: int) -> Tensor:
        """Return descending levels (L, B), Å, with a constant ratio (NCSNv2)."""
        place = torch.linspace(0, 1, levels)[:, None].expand(levels, len(crystals))
        return self._at(crystals, place)

    def draw(self, crystals: CrystalBatch, rng: torch.Generator) -> Tensor:
        """Return random levels (B,), Å, uniform in log σ and stratified over the batch."""
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
    """Return ``vectors`` (A, 3) minus their mean over each crystal."""
    batch = crystals.batch
    return vectors - scatter(vectors, batch, 0, len(crystals), reduce="mean")[batch]


def shuffle_rate(sigma: Tensor) -> Tensor:
    """Return the probability (B,) that an atom takes part in a shuffle of species at ``sigma`` Å.

    It rises from 0.2 to 0.5 around σ = 0.5 Å, where atoms begin to lose their sites. It stays well
    above zero at small σ, so that the network learns to recognize two elements that settled on each
    other's sites. A shuffle keeps the composition, because the samplers start from the exact
    composition, too.
    """
    return 0.2 + 0.3 * sigma**2 / (sigma**2 + 0.25)


def shuffle_species(crystals: CrystalBatch, rate: Tensor, rng: torch.Generator) -> Tensor:
    """Return atomic numbers (A,), permuted among a share ``rate`` (B,) of each crystal's atoms."""
    device = crystals.frac_coords.device
    batch = crystals.batch
    draw = torch.rand(len(batch), generator=rng, device=device)
    chosen = (draw < rate[batch]).nonzero().squeeze(-1)
    keys = batch[chosen] + torch.rand(len(chosen), generator=rng, device=device).double()
    atomic_numbers = crystals.atomic_numbers.clone()
    atomic_numbers[chosen] = crystals.atomic_numbers[chosen[keys.argsort()]]
    return atomic_numbers


def corrupt(crystals: CrystalBatch, sigma: Tensor, rng: torch.Generator) -> NoisyBatch:
    """Add normal noise of width ``sigma`` (B,) Å to the coordinates and shuffle the species."""
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
