"""Several short runs instead of one long one: another only where the crystal does not fit z."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cdvae.diffusion.samplers.sampler import Sampler
from cdvae.geometry.crystal import CrystalBatch

AGREE = 0.01
"""Relative difference of two misfits that are the same."""
JUDGEMENT_SIGMA = 0.4
"""Å; noise level at which a run is judged: a wrong site is as far away as that."""


@dataclass(frozen=True)
class Attempts:
    """Up to ``most`` runs of a sampler for each crystal, until one fits or two agree.

    A run that settles on the wrong sites early cannot leave them at the later, smaller noise
    levels; another start costs the same as doubling the levels and helps more. Nine crystals of ten
    fit at once, and whether one does can be told without the true crystal: by encoding it again.
    Where the two best runs have the same misfit (AGREE), the sites are not what makes it: the
    latent says things that no crystal has, as a draw of the posterior does.

    Where none fits, the one is kept whose misfit times the shift that the score still asks for is
    least: encoder and score err in different ways.
    """

    sampler: Sampler
    most: int
    fit: float  # misfit as in `cdvae.nn.autoencoder.CDVAE.misfit`

    @property
    def judged(self) -> bool:
        """Whether a run is compared with others."""
        return self.most > 1

    @property
    def per_run(self) -> int:
        """Score evaluations of one run and of its judgement."""
        return self.sampler.evaluations + self.judged

    @property
    def evaluations(self) -> int:
        """Score evaluations of all runs."""
        return self.most * self.per_run


@dataclass(frozen=True)
class Made:
    """What a run made: B crystals on the CPU."""

    crystals: CrystalBatch
    properties: Tensor  # (B, P)
    misfit: Tensor  # (B,) as in `cdvae.nn.autoencoder.CDVAE.misfit`
    residual: Tensor  # (B,) Å, as in `cdvae.diffusion.score.residual_shift`

    def select(self, rows: Sequence[int]) -> Made:
        """Those of the crystals ``rows``."""
        own = list(rows)
        judged = self.misfit[own], self.residual[own]
        return Made(self.crystals.select(own), self.properties[own], *judged)


class Best:
    """The best of the runs of each of B crystals."""

    def __init__(self, number: int) -> None:
        self.evaluations = torch.zeros(number, dtype=torch.long)  # (B,) so far
        self._runs = [0] * number
        self._misfit = [math.inf] * number
        self._second = [math.inf] * number  # the second least
        self._doubt = [math.inf] * number  # misfit times residual of the best; 0 where it fits
        self._place = [-1] * number  # of each crystal's best among all that were made
        self._made: list[Made] = []
        self._total = 0

    def unfit(self, plans: Sequence[Attempts]) -> list[int]:
        """The crystals that ``plans``, one for each, give another run."""
        pairs = enumerate(plans)
        return [i for i, plan in pairs if self._runs[i] < plan.most and not self._ended(i, plan)]

    def _ended(self, row: int, plan: Attempts) -> bool:
        least, second = self._misfit[row], self._second[row]
        return self._runs[row] > 0 and (
            least <= plan.fit or second <= (1 + AGREE) * least < math.inf
        )

    def add(self, rows: Sequence[int], made: Made, plan: Attempts) -> None:
        """What a run of ``plan`` made of ``rows``."""
        judged = zip(rows, made.misfit.tolist(), made.residual.tolist(), strict=True)
        for i, (row, misfit, residual) in enumerate(judged):
            # What is not a number is the worst: a crystal all of whose runs broke remains broken.
            misfit = misfit if math.isfinite(misfit) else math.inf
            doubt = 0.0 if misfit <= plan.fit else misfit * residual
            doubt = doubt if math.isfinite(doubt) else math.inf
            if not self._runs[row] or doubt < self._doubt[row]:
                self._place[row], self._doubt[row] = self._total + i, doubt
            self._misfit[row], self._second[row], _ = sorted(
                (self._misfit[row], self._second[row], misfit)
            )
            self._runs[row] += 1
            self.evaluations[row] += plan.per_run
        self._made.append(made)
        self._total += len(rows)

    def crystals(self) -> CrystalBatch:
        """The best of each."""
        return CrystalBatch.cat([made.crystals for made in self._made]).select(self._place)

    def properties(self) -> Tensor:
        """(B, P) of the best of each."""
        return torch.cat([made.properties for made in self._made])[self._place]
