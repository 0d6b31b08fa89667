"""Restarts: another short attempt where the crystal does not fit its latent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cdvae.diffusion.samplers.sampler import DiffusionSampler
from cdvae.geometry.crystal import CrystalBatch

AGREE = 0.01
"""Relative difference below which two values of latent_mse count as equal."""
JUDGEMENT_SIGMA = 0.4
"""Å; noise level at which an attempt is scored, about the distance of a wrong site."""


@dataclass(frozen=True)
class RestartPolicy:
    """Up to ``attempts`` attempts for each crystal, until one is accepted or two agree.

    Atoms that settle on wrong sites early cannot leave them at the later, smaller noise levels. A
    restart costs as much as twice the levels and helps more. The acceptance test encodes the
    crystal again and needs no true crystal; about 90 % of crystals pass on the first attempt. If
    the two best attempts have the same latent_mse (within AGREE), the sites are not at fault: the
    latent describes no possible crystal, as a draw of the posterior may.

    If no attempt is accepted, the one with the smallest product of latent_mse and score residual is
    kept, because encoder and score err in different ways.
    """

    sampler: DiffusionSampler
    attempts: int
    accept_below: float  # latent_mse as in `cdvae.nn.autoencoder.CDVAE.latent_mse`

    @property
    def judged(self) -> bool:
        """True if attempts are compared with each other."""
        return self.attempts > 1

    @property
    def nfe_per_attempt(self) -> int:
        """The NFE of one attempt, its score included."""
        return self.sampler.nfe + self.judged

    @property
    def nfe(self) -> int:
        """The NFE of all attempts."""
        return self.attempts * self.nfe_per_attempt


@dataclass(frozen=True)
class SampleBatch:
    """The results of one attempt at B crystals, on the CPU."""

    crystals: CrystalBatch
    properties: Tensor  # (B, P)
    latent_mse: Tensor  # (B,) as in `cdvae.nn.autoencoder.CDVAE.latent_mse`
    score_residual: Tensor  # (B,) Å, as in `cdvae.diffusion.score.score_residual_shift`

    def select(self, rows: Sequence[int]) -> SampleBatch:
        """Return the crystals ``rows``."""
        index = list(rows)
        judged = self.latent_mse[index], self.score_residual[index]
        return SampleBatch(self.crystals.select(index), self.properties[index], *judged)


class BestOfN:
    """The best attempt for each of B crystals."""

    def __init__(self, number: int) -> None:
        self.nfe = torch.zeros(number, dtype=torch.long)  # (B,) of all attempts so far
        self._runs = [0] * number
        self._latent_mse = [math.inf] * number
        self._second = [math.inf] * number
        # latent_mse times score_residual of the best attempt; 0 for an accepted one
        self._selection_score = [math.inf] * number
        self._place = [-1] * number  # index of the best attempt among all samples
        self._samples: list[SampleBatch] = []
        self._total = 0

    def needs_restart(self, plans: Sequence[RestartPolicy]) -> list[int]:
        """Return the crystals that need another attempt; ``plans`` has a policy for each."""
        pairs = enumerate(plans)
        return [
            i for i, plan in pairs if self._runs[i] < plan.attempts and not self._ended(i, plan)
        ]

    def _ended(self, row: int, plan: RestartPolicy) -> bool:
        least, second = self._latent_mse[row], self._second[row]
        return self._runs[row] > 0 and (
            least <= plan.accept_below or second <= (1 + AGREE) * least < math.inf
        )

    def add(self, rows: Sequence[int], samples: SampleBatch, plan: RestartPolicy) -> None:
        """Add an attempt at the crystals ``rows`` under the policy ``plan``."""
        judged = zip(
            rows, samples.latent_mse.tolist(), samples.score_residual.tolist(), strict=True
        )
        for i, (row, latent_mse, score_residual) in enumerate(judged):
            # NaN counts as infinite, so a broken attempt is kept only if all attempts broke.
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
        self._samples.append(samples)
        self._total += len(rows)

    def crystals(self) -> CrystalBatch:
        """Return the best crystals."""
        return CrystalBatch.cat([samples.crystals for samples in self._samples]).select(self._place)

    def properties(self) -> Tensor:
        """Return the properties (B, P) of the best crystals."""
        return torch.cat([samples.properties for samples in self._samples])[self._place]
