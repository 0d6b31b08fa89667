"""Seeds and the random numbers of each crystal: they depend on its own seed alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def crystal_seed(seed: int, index: int) -> int:
    """The seed of crystal ``index`` of a job: 63 bits, without a pattern between neighbors."""
    digest = hashlib.blake2b(f"{seed}/{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def generators(seeds: Sequence[int], stream: str) -> list[torch.Generator]:
    """One CPU generator a crystal; streams of one seed are independent of each other."""
    rngs = []
    for seed in seeds:
        digest = hashlib.blake2b(f"{seed}/{stream}".encode(), digest_size=8).digest()
        rngs.append(torch.Generator().manual_seed(int.from_bytes(digest) >> 1))
    return rngs


def normal(seeds: Sequence[int], size: int, stream: str) -> Tensor:
    """(B, size) standard normal numbers, one row a crystal."""
    return torch.stack([torch.randn(size, generator=rng) for rng in generators(seeds, stream)])


def uniform(seeds: Sequence[int], size: int, stream: str) -> Tensor:
    """(B, size) uniform numbers in [0, 1), one row a crystal."""
    return torch.stack([torch.rand(size, generator=rng) for rng in generators(seeds, stream)])
