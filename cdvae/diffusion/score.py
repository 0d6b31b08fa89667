"""The score of a noisy crystal: the interface between networks and samplers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch_geometric.utils import scatter

from cdvae.geometry.crystal import CrystalBatch


@dataclass(frozen=True)
class ScoreOutput:
    """The output of a score network for a noisy crystal."""

    shift: Tensor  # (A, 3) Å⁻¹, gradient of the log density of the coordinates
    species_logits: Tensor  # (A, Z), class k is atomic number k + 1


class Score(Protocol):
    """A score as a function of the crystal and the noise level; z and the weights are bound."""

    def __call__(self, crystals: CrystalBatch, sigma: Tensor) -> ScoreOutput:
        """Return the score of ``crystals`` at noise level ``sigma`` (B,) Å."""
        ...


def score_residual_shift(score: Score, crystals: CrystalBatch, sigma: float) -> Tensor:
    """Return the RMS shift (B,), Å, by which the score at level ``sigma`` Å would move an atom."""
    number = len(crystals)
    level = torch.full(
        (number,), sigma, device=crystals.frac_coords.device, dtype=crystals.frac_coords.dtype
    )
    shift = score(crystals, level).shift * sigma**2
    squared = shift.square().sum(-1)
    return scatter(squared, crystals.batch, 0, number, reduce="mean").sqrt()
