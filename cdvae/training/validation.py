"""Losses and errors on validation data during training."""

from __future__ import annotations

import torch

from cdvae.config import TrainConfig
from cdvae.data.dataset import CrystalDataset
from cdvae.diffusion.noise import NoiseSchedule
from cdvae.geometry.crystal import element_counts
from cdvae.inference.initial_state import likeliest_counts
from cdvae.nn.autoencoder import CDVAE
from cdvae.training.loss import Corruption, compute_loss

CRYSTALS = 1024
SEED = 1234


@torch.no_grad()
def validate(
    model: CDVAE, data: CrystalDataset, config: TrainConfig, device: torch.device
) -> dict[str, float]:
    """Return the loss terms, the share of exact compositions and the property errors.

    They are those of the first 1,024 crystals, always with the same noise, for a smooth curve.
    """
    model.eval()
    chosen = data.select(range(min(len(data), CRYSTALS)))
    crystals, properties = chosen.crystals.to(device), chosen.properties.to(device)
    schedule = NoiseSchedule(config.model.sigma_max, config.model.sigma_min)
    corruption = Corruption(schedule, 1, config.optimizer.atom_latent_dropout)
    rng = torch.Generator(device).manual_seed(SEED)
    terms = compute_loss(model, crystals, properties, corruption, rng)
    posterior = model.encode(crystals)
    heads = model.heads(posterior.z.mean)
    counts = likeliest_counts(heads.count_logits, crystals.num_atoms)
    exact = (counts == element_counts(crystals)).all(-1)
    figures = terms.detached() | {"composition_exact": float(exact.float().mean())}
    error = (model.heads.property_values(heads.properties) - properties).abs()
    for i, name in enumerate(config.model.properties):
        figures[f"mae_{name}"] = float(error[:, i].nanmean())
    return figures
