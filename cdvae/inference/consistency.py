"""Consistency of decoded crystals with their latents, which needs no true crystal."""

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
"""Å; noise level of the score residual: short compared with a bond, and well learned."""


@dataclass(frozen=True)
class DecodingConsistency:
    """Three measures for B crystals; all are zero for a perfect decoding."""

    latent_mse: Tensor  # (B,) between the latent of the decoding and that of the encoded crystal
    score_residual: Tensor  # (B,) Å, RMS shift by which the score would still move an atom
    property_gap: Tensor  # (B,) RMS difference of heads and property model, standardized

    def columns(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the three measures in this order."""
        return self.latent_mse, self.score_residual, self.property_gap


@torch.no_grad()
def consistency(
    model: TrainedModel, latents: Latents, crystals: CrystalBatch
) -> DecodingConsistency:
    """Return the consistency of ``crystals`` with the ``latents`` they were decoded from."""
    parts, order = [], []
    for rows in bucket_by_size(crystals.num_atoms.tolist(), BATCH_ATOMS):
        every = pad_to_multiple(rows)
        measures = _measures(model, latents.select(every), crystals.select(every).to(model.device))
        parts.append(measures[:, : len(rows)].cpu())
        order += rows
    values = torch.cat(parts, 1)[:, torch.tensor(order).argsort()]
    return DecodingConsistency(*values)


def _measures(model: TrainedModel, latents: Latents, crystals: CrystalBatch) -> Tensor:
    """Return the three measures (3, B) of crystals of one size."""
    network = model.network
    condition = condition_of(latents, crystals.num_atoms, network.config.atom_latent_dim)
    score_residual = score_residual_shift(network.decoder.bind(condition), crystals, RESIDUAL_SIGMA)
    heads = network.heads(latents.z).properties
    estimated = network.heads.property_target(model.property_model.values(crystals))
    gap = (heads - estimated).square().mean(-1).sqrt()
    return torch.stack([network.latent_mse(condition, crystals), score_residual, gap])
