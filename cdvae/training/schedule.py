"""The learning rate and the batch of each step of a training run."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from cdvae.config import OptimizerConfig
from cdvae.errors import DataError

SORT_BATCHES = 16
"""Number of batches to sort by size together."""


def learning_rate(step: int, config: OptimizerConfig) -> float:
    """Return the learning rate: a linear warm-up, then a cosine to ``lr_final_ratio``."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    share = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))
    return config.learning_rate * (config.lr_final_ratio + (1 - config.lr_final_ratio) * cosine)


def linear_cosine(step: int, steps: int) -> float:
    """Return the share of the peak learning rate: warm-up in the first 5 %, then a cosine to 0."""
    warm_up = max(1, steps // 20)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def one_cycle(step: int, steps: int, peak: float) -> dict[str, float | tuple[float, float]]:
    """Return the settings of AdamW that ``OneCycleLR`` gives for ``step``.

    In the first 5 % of the run the learning rate rises from 1/25 of the peak; then it falls to 4e-6
    of it, both along a cosine. The decay of the first moment falls from 0.95 to 0.85 and rises
    again.
    """
    top, last = 0.05 * steps - 1, steps - 1
    low, end = peak / 25, peak / 25 / 1e4
    if step <= top or last == top:
        share = step / top
        rate, beta = _cosine(low, peak, share), _cosine(0.95, 0.85, share)
    else:
        share = (step - top) / (last - top)
        rate, beta = _cosine(peak, end, share), _cosine(0.85, 0.95, share)
    return {"lr": rate, "betas": (beta, 0.999)}


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


def batches(
    num_atoms: Tensor,
    batch_size: int,
    seed: int,
    steps: range,
    rank: int = 0,
    peers: int = 1,
    pool_batches: int = SORT_BATCHES,
) -> Iterator[Tensor]:
    """Yield the crystal indices of this process for each of ``steps``.

    They depend on the seed and the step only. Crystals of similar size share a batch, which is
    padded to the largest: batches are cut from pools of ``pool_batches`` batches that are sorted by
    size, and then shuffled. Every epoch has another order.

    Raises:
        DataError: there are fewer crystals than a batch.
    """
    size = len(num_atoms)
    width = batch_size * peers
    per_epoch = size // width
    if per_epoch == 0:
        raise DataError(
            f"{size} training crystals are fewer than a batch of {batch_size} on {peers} processes"
        )
    for step in steps:
        epoch, within = divmod(step, per_epoch)
        if within == 0 or step == steps.start:
            rng = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
            order = torch.randperm(size, generator=rng)[: per_epoch * width]
            pools = order.split(pool_batches * width)
            order = torch.cat([p[num_atoms[p].argsort(stable=True)] for p in pools])
            order = order.view(per_epoch, width)[torch.randperm(per_epoch, generator=rng)]
        yield order[within, rank::peers]
