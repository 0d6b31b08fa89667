"""Annealed Langevin dynamics, the sampler of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cdvae.diffusion.noise import NoiseSchedule
from cdvae.diffusion.samplers.orbits import Symmetry, assign
from cdvae.diffusion.samplers.sampler import OnLevel, PositionUpdate, normal
from cdvae.diffusion.score import Score
from cdvae.geometry.crystal import CrystalBatch


@dataclass(frozen=True)
class Langevin:
    r"""Annealed Langevin dynamics (Song & Ermon 2019; Xie et al. 2022, algorithm 1).

    .. math:: x ← x + α s(x, σ) + \sqrt{2α}\, ε,\qquad α = r σ²

    For a normal of width σ the chain converges to the variance σ²/(1 − r/2). The original's r = 1
    doubles the variance and leaves that noise in the result; here r is small, and the last
    evaluation makes a step of σ² without noise.
    """

    schedule: NoiseSchedule
    levels: int = 50
    steps_per_level: int = 100
    step_ratio: float = 0.1  # r

    @property
    def nfe(self) -> int:
        """The NFE: ``steps_per_level`` at each level."""
        return self.levels * self.steps_per_level

    @torch.no_grad()
    def __call__(
        self,
        score: Score,
        start: CrystalBatch,
        rngs: Sequence[torch.Generator],
        on_level: OnLevel | None = None,
        symmetry: Symmetry | None = None,
    ) -> CrystalBatch:
        """See :class:`cdvae.diffusion.samplers.sampler.Sampler`."""
        crystals, batch = start, start.batch
        move = PositionUpdate(start, symmetry)
        for i, level in enumerate(self.schedule.ladder(start, self.levels)):
            sigma = level[batch, None]
            noise = normal(start, rngs, self.steps_per_level)
            alpha = self.step_ratio * sigma**2
            for j in range(self.steps_per_level):
                output = score(crystals, level)
                last = i == self.levels - 1 and j == self.steps_per_level - 1
                step = (
                    sigma**2 * output.shift
                    if last
                    else alpha * output.shift + (2 * alpha).sqrt() * noise[j]
                )
                crystals = assign(move(crystals, step), symmetry, output.species_logits)
                if on_level:
                    on_level(i * self.steps_per_level + j + 1, self.nfe)
        return crystals
