"""How far decoded crystals agree with their latents: a judgement without the truth."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cdvae.diffusion.score import residual_shift
from cdvae.geometry.crystal import CrystalBatch
from cdvae.inference.bucketing import filled, of_one_size
from cdvae.inference.decoding import BATCH_ATOMS
from cdvae.inference.initial_state import condition_of
from cdvae.model_folder import TrainedModel
from cdvae.nn.encoder import Latents

RESIDUAL_SIGMA = 0.1
"""Å; noise level at which the residual score is read: small against a bond, well learned."""


@dataclass(frozen=True)
class Agreement:
    """Of B crystals; all three are zero for a perfect decoding."""

    misfit: Tensor  # (B,) mean squared distance of its own latent from the one it was decoded from
    residual: Tensor  # (B,) Å, RMS shift of an atom that the score still asks for
    head_gap: Tensor  # (B,) RMS difference of heads and estimator, standard deviations of the data

    def columns(self) -> tuple[Tensor, Tensor, Tensor]:
        """The three, in this order."""
        return self.misfit, self.residual, self.head_gap


@torch.no_grad()
def agreement(model: TrainedModel, latents: Latents, crystals: CrystalBatch) -> Agreement:
    """How far ``crystals`` agree with the ``latents`` that they were decoded from, on the CPU."""
    parts, order = [], []
    for rows in of_one_size(crystals.n_atoms.tolist(), BATCH_ATOMS):
        every = filled(rows)
        found = _of_one_size(model, latents.select(every), crystals.select(every).to(model.device))
        parts.append(found[:, : len(rows)].cpu())
        order += rows
    values = torch.cat(parts, 1)[:, torch.tensor(order).argsort()]
    return Agreement(*values)


def _of_one_size(model: TrainedModel, latents: Latents, crystals: CrystalBatch) -> Tensor:
    """(3, B)"""
    network = model.network
    condition = condition_of(latents, crystals.n_atoms, network.config.code_dim)
    residual = residual_shift(network.decoder.bind(condition), crystals, RESIDUAL_SIGMA)
    heads = network.heads(latents.z).properties
    estimated = network.heads.property_target(model.estimator.values(crystals))
    gap = (heads - estimated).square().mean(-1).sqrt()
    return torch.stack([network.misfit(condition, crystals), residual, gap])
