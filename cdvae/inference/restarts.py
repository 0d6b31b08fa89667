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
"""Relative difference of two values of latent_mse that count as equal."""
JUDGEMENT_SIGMA = 0.4
"""Å; noise level at which a run is judged: a wrong site is as far away as that."""


@dataclass(frozen=True)
class RestartPolicy:
    """Up to ``attempts`` runs of a sampler for each crystal, until one fits or two agree.

    A run that settles on the wrong sites early cannot leave them at the later, smaller noise
    levels; another start costs the same as doubling the levels and helps more. Nine crystals of ten
    fit at once, and whether one does can be told without the true crystal: by encoding it again.
    Where the two best runs have the same latent_mse (AGREE), the sites are not what makes it: the
    latent says things that no crystal has, as a draw of the posterior does.

    Where none fits, the one is kept whose latent_mse times the shift that the score still asks for
    is least: encoder and score err in different ways.
    """

    sampler: Sampler
    attempts: int
    accept_below: float  # latent_mse as in `cdvae.nn.autoencoder.CDVAE.latent_mse`

    @property
    def judged(self) -> bool:
        """Whether a run is compared with others."""
        return self.attempts > 1

    @property
    def nfe_per_attempt(self) -> int:
        """Score evaluations of one run and of its judgement."""
        return self.sampler.nfe + self.judged

    @property
    def nfe(self) -> int:
        """Score evaluations of all runs."""
        return self.attempts * self.nfe_per_attempt


@dataclass(frozen=True)
class SampleBatch:
    """What a run made: B crystals on the CPU."""

    crystals: CrystalBatch
    properties: Tensor  # (B, P)
    latent_mse: Tensor  # (B,) as in `cdvae.nn.autoencoder.CDVAE.latent_mse`
    score_residual: Tensor  # (B,) Å, as in `cdvae.diffusion.score.score_residual_shift`

    def select(self, rows: Sequence[int]) -> SampleBatch:
        """Those of the crystals ``rows``."""
        own = list(rows)
        judged = self.latent_mse[own], self.score_residual[own]
        return SampleBatch(self.crystals.select(own), self.properties[own], *judged)


class BestOfN:
    """The best of the runs of each of B crystals."""

    def __init__(self, number: int) -> None:
        self.nfe = torch.zeros(number, dtype=torch.long)  # (B,) so far
        self._runs = [0] * number
        self._latent_mse = [math.inf] * number
        self._second = [math.inf] * number  # the second least
        self._selection_score = [
            math.inf
        ] * number  # latent_mse times score_residual of the best; 0 where it fits
        self._place = [-1] * number  # of each crystal's best among all that were made
        self._made: list[SampleBatch] = []
        self._total = 0

    def needs_restart(self, plans: Sequence[RestartPolicy]) -> list[int]:
        """The crystals that ``plans``, one for each, give another run."""
        pairs = enumerate(plans)
        return [
            i for i, plan in pairs if self._runs[i] < plan.attempts and not self._ended(i, plan)
        ]

    def _ended(self, row: int, plan: RestartPolicy) -> bool:
        least, second = self._latent_mse[row], self._second[row]
        return self._runs[row] > 0 and (
            least <= plan.accept_below or second <= (1 + AGREE) * least < math.inf
        )

    def add(self, rows: Sequence[int], made: SampleBatch, plan: RestartPolicy) -> None:
        """What a run of ``plan`` made of ``rows``."""
        judged = zip(rows, made.latent_mse.tolist(), made.score_residual.tolist(), strict=True)
        for i, (row, latent_mse, score_residual) in enumerate(judged):
            # What is not a number is the worst: a crystal all of whose runs broke remains broken.
            latent_mse = latent_mse if math.isfinite(latent_mse) else math.inf
            selection_score = (
                0.0 if latent_mse <= plan.accept_below else latent_mse * score_residual
            )
            selection_score = selection_score if math.isfinite(selection_score) else math.inf
            if not self._runs[row] or selection_score < self._selection_score[row]:
                self._place[row], self._selection_score[row] = self._total + i, selection_score
            self._latent_mse[row], self._second[row], _ = sorted(
                (self._latent_mse[row], self._second[row], latent_mse)
            )
            self._runs[row] += 1
            self.nfe[row] += plan.nfe_per_attempt
        self._made.append(made)
        self._total += len(rows)

    def crystals(self) -> CrystalBatch:
        """The best of each."""
        return CrystalBatch.cat([made.crystals for made in self._made]).select(self._place)

    def properties(self) -> Tensor:
        """(B, P) of the best of each."""
        return torch.cat([made.properties for made in self._made])[self._place]
