"""The ancestral sampler, with corrections at the noise levels where atoms choose their sites."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cdvae.diffusion.noise import NoiseSchedule
from cdvae.diffusion.samplers.orbits import Symmetry
from cdvae.diffusion.samplers.sampler import OnLevel, Update, normal, run_updates
from cdvae.diffusion.score import Score
from cdvae.geometry.crystal import CrystalBatch

CORRECTOR_BAND = (0.5, 0.045)
"""Noise levels, in units of (V/N)^(1/3), between which an atom chooses its site."""
CORRECTION = 1.5
"""Time of one correction, in units of σ², the relaxation time at its level."""
CORRECTED_PLANS = ((6, 3, 4, 5), (2, 4, 6, 5), (1, 2, 2, 3))
"""(corrections at each level of the band, levels above it, levels below it, fewest levels within
it for which these corrections are worth their cost); the first plan that fits is used."""


@dataclass(frozen=True)
class AncestralPlan:
    """The numbers of levels above, within and below the CORRECTOR_BAND.

    The sampler makes ``corrections`` at each level within the band. With ``deterministic_tail`` the
    levels below the band add no noise: each of them moves every atom to its expected site. This
    helps only if the latents determine the sites.
    """

    above: int
    within: int
    corrections: int
    below: int
    deterministic_tail: bool = False

    @classmethod
    def for_generation(cls, nfe: int) -> AncestralPlan:
        """Return the plan for new crystals that takes at most ``nfe`` (at least 1) evaluations.

        More corrections at each level are better, but the band also needs a few levels.
        """
        for corrections, above, below, fewest in CORRECTED_PLANS:
            within = (nfe - above - below) // (1 + corrections)
            if within >= fewest:
                return cls(above, within, corrections, below)
        return cls._uncorrected(nfe, deterministic_tail=False)

    @classmethod
    def for_reconstruction(cls, nfe: int) -> AncestralPlan:
        """Return the plan for crystals whose atom latents determine the sites of their atoms."""
        below = max(2, nfe // 6)
        within = (nfe - below - 2) // 2
        if within >= 3:
            return cls(nfe - 2 * within - below, within, 1, below, deterministic_tail=True)
        return cls._uncorrected(nfe, deterministic_tail=True)

    @classmethod
    def _uncorrected(cls, nfe: int, *, deterministic_tail: bool) -> AncestralPlan:
        outside = nfe // 3
        return cls(nfe - 2 * outside, outside, 0, outside, deterministic_tail)

    @property
    def nfe(self) -> int:
        """The NFE: one evaluation for each level and each correction."""
        return self.above + self.within * (1 + self.corrections) + self.below


@dataclass(frozen=True)
class Ancestral:
    r"""Ancestral sampling of the variance-exploding diffusion, with corrections.

    One step to the next level (Song et al. 2021, eq. 47):

    .. math:: x_{i+1} = x_i + (σ_i² − σ_{i+1}²) s(x_i, σ_i)
              + \sqrt{σ_{i+1}² (σ_i² − σ_{i+1}²) / σ_i²}\, ε,\qquad σ_L = 0

    A correction stays at its level: it is Langevin dynamics of time h σ² in one step. It is exact
    where the density is a normal of width σ, as it is around the sites of a crystal, so h may be
    large. Where the density is wider, the variance shrinks, at most by (1 + e^{−h})/2.

    .. math:: x ← x + (1 − e^{−h}) σ² s(x, σ) + σ \sqrt{1 − e^{−2h}}\, ε

    Atoms choose their sites in a narrow band of noise levels. Corrections let them revise the
    choice.
    """

    schedule: NoiseSchedule
    plan: AncestralPlan

    @property
    def nfe(self) -> int:
        """The NFE of the plan."""
        return self.plan.nfe

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
        updates = self._updates(start, normal(start, rngs, self.nfe))
        return run_updates(score, start, updates, self.nfe, on_level, symmetry)

    def _updates(self, start: CrystalBatch, noise: Tensor) -> Iterator[Update]:
        """Yield the update of each evaluation, given unscaled ``noise`` (L, A, 3)."""
        for i, (level, next_level) in enumerate(self._levels(start)):
            sigma = level[start.batch, None]
            if next_level is None:
                decay = math.exp(-CORRECTION)
                gain, spread = (1 - decay) * sigma**2, (1 - decay**2) ** 0.5 * sigma
            else:
                below = next_level[start.batch, None]
                gain = sigma**2 - below**2
                spread = below / sigma * gain.sqrt()
            yield level, gain, spread * noise[i]

    def _levels(self, crystals: CrystalBatch) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield the level (B,) of each evaluation and the next level, None for a correction."""
        plan, ladder = self.plan, self._ladder(crystals)
        nothing = torch.zeros_like(ladder[0])
        for i, (level, lower) in enumerate(itertools.pairwise([*ladder, nothing])):
            if plan.above <= i < plan.above + plan.within:
                yield from [(level, None)] * plan.corrections
            settles = plan.deterministic_tail and i >= plan.above + plan.within
            yield level, nothing if settles else lower

    def _ladder(self, crystals: CrystalBatch) -> Tensor:
        """Return descending levels (L, B), Å, with constant ratios in each part of the ladder."""
        plan = self.plan
        top, bottom = self.schedule.ladder(crystals, 2).log()
        edges = [(crystals.length_scale * edge).log() for edge in CORRECTOR_BAND]
        upper, lower = (torch.minimum(torch.maximum(edge, bottom), top) for edge in edges)
        parts = [
            _between(top, upper, plan.above),
            _between(upper, lower, plan.within),
            _between(lower, bottom, plan.below),
        ]
        return torch.cat(parts).exp()


def _between(start: Tensor, end: Tensor, levels: int) -> Tensor:
    """Return ``levels`` evenly spaced rows from ``start`` (B,) up to, but without, ``end`` (B,)."""
    place = torch.arange(levels, device=start.device)[:, None] / max(levels, 1)
    return start + (end - start) * place
