"""How many crystals are computed in one call."""

from __future__ import annotations

from cdvae.batches import ranges
from cdvae.trained import TrainedModel

CHUNK_CRYSTALS, CHUNK_CRYSTALS_CUDA = 64, 1024
"""Crystals that are decoded, checked and stored together."""


def chunks(n: int, model: TrainedModel) -> list[range]:
    """Ranges that cover ``range(n)``, each of as many crystals as are decoded in one call."""
    return ranges(n, CHUNK_CRYSTALS_CUDA if model.device.type == "cuda" else CHUNK_CRYSTALS)
