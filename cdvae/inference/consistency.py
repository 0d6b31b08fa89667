"""How far decoded crystals agree with their latents: a judgement without the truth."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cdvae.diffusion.score import score_residual_shift
from cdvae.geometry.crystal import CrystalBatch
from cdvae.inference.bucketing import bucket_by_size, pad_to_multiple
from cdvae.inference.decoding import BATCH_ATOMS
from cdvae.inference.initial_state import condition_of
from cdvae.model_folder import TrainedModel
from cdvae.nn.encoder import Latents

RESIDUAL_SIGMA = 0.1
"""Å; noise level at which the score_residual score is read: small against a bond, well learned."""


@dataclass(frozen=True)
class DecodingConsistency:
    """Of B crystals; all three are zero for a perfect decoding."""

    latent_mse: (
        Tensor  # (B,) mean squared distance of its own latent from the one it was decoded from
    )
    score_residual: Tensor  # (B,) Å, RMS shift of an atom that the score still asks for
    property_gap: (
        Tensor  # (B,) RMS difference of heads and property model, standard deviations of the data
    )

    def columns(self) -> tuple[Tensor, Tensor, Tensor]:
        """The three, in this order."""
        return self.latent_mse, self.score_residual, self.property_gap


@torch.no_grad()
def consistency(
    model: TrainedModel, latents: Latents, crystals: CrystalBatch
) -> DecodingConsistency:
    """How far ``crystals`` agree with the ``latents`` that they were decoded from, on the CPU."""
    parts, order = [], []
    for rows in bucket_by_size(crystals.num_atoms.tolist(), BATCH_ATOMS):
        every = pad_to_multiple(rows)
        found = _bucket_by_size(
            model, latents.select(every), crystals.select(every).to(model.device)
        )
        parts.append(found[:, : len(rows)].cpu())
        order += rows
    values = torch.cat(parts, 1)[:, torch.tensor(order).argsort()]
    return DecodingConsistency(*values)


def _bucket_by_size(model: TrainedModel, latents: Latents, crystals: CrystalBatch) -> Tensor:
    """(3, B)"""
    network = model.network
    condition = condition_of(latents, crystals.num_atoms, network.config.atom_latent_dim)
    score_residual = score_residual_shift(network.decoder.bind(condition), crystals, RESIDUAL_SIGMA)
    heads = network.heads(latents.z).properties
    estimated = network.heads.property_target(model.property_model.values(crystals))
    gap = (heads - estimated).square().mean(-1).sqrt()
    return torch.stack([network.latent_mse(condition, crystals), score_residual, gap])
