"""Annealed Langevin dynamics, the sampler of the paper."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from cdvae.diffusion.noise import NoiseSchedule
from cdvae.diffusion.samplers.orbits import Symmetry
from cdvae.diffusion.samplers.sampler import OnLevel, Update, normal, run_updates
from cdvae.diffusion.score import Score
from cdvae.geometry.crystal import CrystalBatch

STEP_RATIO = 0.1  # r


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
        """See :class:`cdvae.diffusion.samplers.sampler.DiffusionSampler`."""
        updates = self._updates(start, rngs)
        return run_updates(score, start, updates, self.nfe, on_level, symmetry)

    def _updates(self, start: CrystalBatch, rngs: Sequence[torch.Generator]) -> Iterator[Update]:
        """Yield the update of each evaluation."""
        steps = self.steps_per_level
        for i, level in enumerate(self.schedule.ladder(start, self.levels), 1):
            sigma = level[start.batch, None]
            noise = normal(start, rngs, steps)
            alpha = STEP_RATIO * sigma**2
            for j in range(steps):
                if i == self.levels and j == steps - 1:
                    yield level, sigma**2, None
                else:
                    yield level, alpha, (2 * alpha).sqrt() * noise[j]
