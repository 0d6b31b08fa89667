"""How many crystals are computed in one call."""

from __future__ import annotations

from cdvae.inference.bucketing import ranges
from cdvae.model_folder import TrainedModel

CHUNK_CRYSTALS, CHUNK_CRYSTALS_CUDA = 64, 1024
"""Crystals that a network sees together."""
PORTION_CRYSTALS, PORTION_CRYSTALS_CUDA = 256, 1024
"""Crystals that are decoded, checked and stored together.

Only those with the same number of atoms share a batch, and short operations leave a second thread
little to do: of 64 crystals of MP-20 each takes 134 ms on two threads, of 256 59 ms.
"""


def chunks(n: int, model: TrainedModel) -> list[range]:
    """Ranges that cover ``range(n)``, each of as many crystals as a network sees at once."""
    return ranges(n, CHUNK_CRYSTALS_CUDA if _on_gpu(model) else CHUNK_CRYSTALS)


def portions(n: int, model: TrainedModel) -> list[range]:
    """Ranges that cover ``range(n)``, each of as many crystals as are decoded in one call."""
    return ranges(n, PORTION_CRYSTALS_CUDA if _on_gpu(model) else PORTION_CRYSTALS)


def _on_gpu(model: TrainedModel) -> bool:
    return model.device.type == "cuda"
