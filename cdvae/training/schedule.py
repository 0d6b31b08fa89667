"""What a training run does at each step: its learning rate, and which crystals it sees."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from cdvae.config import OptimizerConfig
from cdvae.errors import DataError

SORT_BATCHES = 16


def learning_rate(step: int, config: OptimizerConfig) -> float:
    """Linear warm-up, then a cosine to ``lr_final_ratio`` of the peak."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    share = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))
    return config.learning_rate * (config.lr_final_ratio + (1 - config.lr_final_ratio) * cosine)


def batches(
    num_atoms: Tensor, config: OptimizerConfig, rank: int, peers: int, start: int
) -> Iterator[Tensor]:
    """Crystal indices of this process for the steps from ``start`` on, the same after a resume.

    Crystals of about the same size share a batch, because rows are padded to the largest: batches
    are cut from pools of SORT_BATCHES batches sorted by size, and then shuffled.
    """
    size = len(num_atoms)
    width = config.batch_size * peers
    per_epoch = size // width
    if per_epoch == 0:
        raise DataError(
            f"{size} training crystals are fewer than a batch of {config.batch_size}"
            f" on {peers} processes"
        )
    for step in range(start, config.steps):
        epoch, within = divmod(step, per_epoch)
        if within == 0 or step == start:
            rng = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
            order = torch.randperm(size, generator=rng)[: per_epoch * width]
            pools = order.split(SORT_BATCHES * width)
            order = torch.cat([p[num_atoms[p].argsort(stable=True)] for p in pools])
            order = order.view(per_epoch, width)[torch.randperm(per_epoch, generator=rng)]
        yield order[within, rank::peers]
