"""Seeds and random numbers of single crystals."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def crystal_seed(seed: int, index: int) -> int:
    """Return the seed of crystal ``index`` of a job, 63 bits of a hash."""
    digest = hashlib.blake2b(f"{seed}/{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def generators(seeds: Sequence[int], stream: str) -> list[torch.Generator]:
    """Return one CPU generator for each crystal; streams of one seed are independent."""
    rngs = []
    for seed in seeds:
        digest = hashlib.blake2b(f"{seed}/{stream}".encode(), digest_size=8).digest()
        rngs.append(torch.Generator().manual_seed(int.from_bytes(digest) >> 1))
    return rngs


def normal(seeds: Sequence[int], size: int, stream: str) -> Tensor:
    """Return standard normal numbers (B, size), one row for each crystal."""
    return torch.stack([torch.randn(size, generator=rng) for rng in generators(seeds, stream)])


def uniform(seeds: Sequence[int], size: int, stream: str) -> Tensor:
    """Return uniform numbers (B, size) in [0, 1), one row for each crystal."""
    return torch.stack([torch.rand(size, generator=rng) for rng in generators(seeds, stream)])
