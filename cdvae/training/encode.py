"""Encode a whole data set."""

from __future__ import annotations

import torch

from cdvae.data.dataset import CrystalDataset
from cdvae.nn.autoencoder import CDVAE
from cdvae.nn.encoder import Posterior

ENCODE_CRYSTALS = 256


@torch.no_grad()
def encode_all(model: CDVAE, data: CrystalDataset) -> Posterior:
    """Return the posterior of every crystal of ``data``, on the model's device."""
    device = next(model.parameters()).device
    parts = []
    for first in range(0, len(data), ENCODE_CRYSTALS):
        rows = range(first, min(first + ENCODE_CRYSTALS, len(data)))
        parts.append(model.encode(data.crystals.select(rows).to(device)))
    return Posterior.cat(parts)
