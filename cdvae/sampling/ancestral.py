"""The fast sampler: one stochastic step a noise level, and a last step without noise."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cdvae.crystal import CrystalBatch
from cdvae.noise import NoiseSchedule
from cdvae.sampling.assignment import assign_species
from cdvae.sampling.protocol import Mover, OnLevel, normal
from cdvae.score import Score


@dataclass(frozen=True)
class Ancestral:
    r"""Ancestral sampling of the variance-exploding diffusion (Song et al. 2021, eq. 47).

    .. math:: x_{i+1} = x_i + (σ_i² − σ_{i+1}²) s(x_i, σ_i)
              + \sqrt{σ_{i+1}² (σ_i² − σ_{i+1}²) / σ_i²}\, ε,\qquad σ_L = 0

    ==========  ======================================
    ``sigma``   σ_i, the level of the crystals now
    ``below``   σ_{i+1}, the next one, 0 after the last
    ``shift``   s, the score
    ==========  ======================================
    """

    schedule: NoiseSchedule
    levels: int

    @property
    def evaluations(self) -> int:
        """One a level."""
        return self.levels

    @property
    def copies(self) -> int:
        """The crystals alone."""
        return 1

    @torch.no_grad()
    def __call__(
        self,
        score: Score,
        start: CrystalBatch,
        rngs: Sequence[torch.Generator],
        on_level: OnLevel | None = None,
    ) -> CrystalBatch:
        """See :class:`cdvae.sampling.protocol.Sampler`."""
        return self.run(score, start, self.noise(start, rngs), on_level)

    def noise(self, crystals: CrystalBatch, rngs: Sequence[torch.Generator]) -> Tensor:
        """(L, A, 3) what :meth:`run` adds at each level, before it is scaled."""
        return normal(crystals, rngs, self.levels)

    def run(
        self, score: Score, start: CrystalBatch, noise: Tensor, on_level: OnLevel | None = None
    ) -> CrystalBatch:
        """The samples that ``noise`` (L, A, 3) leads to."""
        ladder = self.schedule.ladder(start, self.levels)
        crystals, owner = start, start.owner
        move = Mover(start)
        ends = torch.cat([ladder, torch.zeros_like(ladder[:1])])
        for i, (sigma, below) in enumerate(itertools.pairwise(ends)):
            output = score(crystals, sigma)
            gap = (sigma**2 - below**2)[owner, None]
            spread = (below / sigma)[owner, None] * gap.sqrt()
            step = gap * output.shift + spread * noise[i]
            crystals = assign_species(move(crystals, step), output.species_logits)
            if on_level:
                on_level(i + 1, self.levels)
        return crystals
