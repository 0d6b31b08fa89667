"""The fast sampler: ancestral steps, and corrections where atoms find their sites."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cdvae.diffusion.noise import NoiseSchedule
from cdvae.diffusion.samplers.orbits import Symmetry, assign
from cdvae.diffusion.samplers.sampler import OnLevel, PositionUpdate, normal
from cdvae.diffusion.score import Score
from cdvae.geometry.crystal import CrystalBatch

CORRECTOR_BAND = (0.5, 0.045)
"""Noise levels, in units of (V/N)^(1/3), between which an atom chooses its site."""
CORRECTION = 1.5
"""Time of one correction, in units of the relaxation time σ² of its level."""


@dataclass(frozen=True)
class AncestralPlan:
    """Levels above, within and below the CORRECTOR_BAND, and the corrections at each level within.

    With ``deterministic_tail`` those below add no noise: each of them moves every atom to where its
    level expects it. Right where one place is looked for and no draw of many.
    """

    above: int
    within: int
    corrections: int
    below: int
    deterministic_tail: bool = False

    @staticmethod
    def for_generation(nfe: int) -> AncestralPlan:
        """The plan for a number of nfe, at least 1; it uses no more of them."""
        for plan in (
            AncestralPlan(3, 0, 6, 4),
            AncestralPlan(4, 0, 2, 6),
            AncestralPlan(2, 0, 1, 2),
        ):
            levels = (nfe - plan.nfe) // (1 + plan.corrections)
            if levels >= (5 if plan.corrections > 1 else 3):  # many corrections want many levels
                return replace(plan, within=levels)
        outside = nfe // 3
        return AncestralPlan(nfe - 2 * outside, outside, 0, outside)

    @staticmethod
    def for_reconstruction(nfe: int) -> AncestralPlan:
        """The same for crystals whose latent says where their atoms are, which settle."""
        below = max(2, nfe // 6)
        within = (nfe - below - 2) // 2
        if within >= 3:
            return AncestralPlan(
                nfe - 2 * within - below, within, 1, below, deterministic_tail=True
            )
        outside = nfe // 3
        return AncestralPlan(nfe - 2 * outside, outside, 0, outside, deterministic_tail=True)

    @property
    def nfe(self) -> int:
        """One a level and one a correction."""
        return self.above + self.within * (1 + self.corrections) + self.below


@dataclass(frozen=True)
class Ancestral:
    r"""Ancestral sampling of the variance-exploding diffusion, with corrections.

    A step to the next level (Song et al. 2021, eq. 47):

    .. math:: x_{i+1} = x_i + (σ_i² − σ_{i+1}²) s(x_i, σ_i)
              + \sqrt{σ_{i+1}² (σ_i² − σ_{i+1}²) / σ_i²}\, ε,\qquad σ_L = 0

    A correction mixes within a level: Langevin dynamics of time h σ² in one step, exact where the
    density is a normal of width σ, as about the sites of a crystal, so that h may be large. Where
    the data themselves are wider, their variance shrinks, at most by (1 + e^{−h})/2.

    .. math:: x ← x + (1 − e^{−h}) σ² s(x, σ) + σ \sqrt{1 − e^{−2h}}\, ε

    Atoms choose their sites in a narrow band of noise levels. Without corrections what they have
    chosen there cannot be taken back.
    """

    schedule: NoiseSchedule
    plan: AncestralPlan

    @property
    def nfe(self) -> int:
        """Those of the plan."""
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
        """See :class:`cdvae.diffusion.samplers.sampler.Sampler`."""
        return self.run(score, start, self.noise(start, rngs), on_level, symmetry)

    def noise(self, crystals: CrystalBatch, rngs: Sequence[torch.Generator]) -> Tensor:
        """(L, A, 3) what :meth:`run` adds at each evaluation, before it is scaled."""
        return normal(crystals, rngs, self.nfe)

    def run(
        self,
        score: Score,
        start: CrystalBatch,
        noise: Tensor,
        on_level: OnLevel | None = None,
        symmetry: Symmetry | None = None,
    ) -> CrystalBatch:
        """The samples that ``noise`` (L, A, 3) leads to."""
        crystals, batch = start, start.batch
        move = PositionUpdate(start, symmetry)
        for i, (level, following) in enumerate(self._moves(start)):
            output = score(crystals, level)
            sigma = level[batch, None]
            if following is None:
                kept = math.exp(-CORRECTION)
                gap, spread = (1 - kept) * sigma**2, (1 - kept**2) ** 0.5 * sigma
            else:
                below = following[batch, None]
                gap = sigma**2 - below**2
                spread = below / sigma * gap.sqrt()
            step = gap * output.shift + spread * noise[i]
            crystals = assign(move(crystals, step), symmetry, output.species_logits)
            if on_level:
                on_level(i + 1, self.nfe)
        return crystals

    def _moves(self, crystals: CrystalBatch) -> Iterator[tuple[Tensor, Tensor | None]]:
        """(B,) level of each evaluation and (B,) the level that it leads to, None to stay."""
        plan, ladder = self.plan, self._ladder(crystals)
        nothing = torch.zeros_like(ladder[0])
        for i, (level, lower) in enumerate(itertools.pairwise([*ladder, nothing])):
            if plan.above <= i < plan.above + plan.within:
                yield from [(level, None)] * plan.corrections
            settles = plan.deterministic_tail and i >= plan.above + plan.within
            yield level, nothing if settles else lower

    def _ladder(self, crystals: CrystalBatch) -> Tensor:
        """(L, B) descending levels, Å, with constant ratios above, within and below the band."""
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
    """(levels, B) from ``start`` (B,) on in even steps that would meet ``end`` (B,) next."""
    place = torch.arange(levels, device=start.device)[:, None] / max(levels, 1)
    return start + (end - start) * place
