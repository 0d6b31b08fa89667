"""Where the encoder puts the data: a learned density over z to draw new crystals from.

Flow matching with straight paths (Lipman et al. 2023): a small network carries N(0, I) to the
aggregate posterior. The standard normal stays available, but with a weak KL term it has holes.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn


class _Block(nn.Module):
    """Residual layer, modulated by the time embedding."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate = nn.Linear(width, 3 * width)
        self.body = nn.Sequential(
            nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width)
        )
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        scale, shift, gate = self.modulate(time).chunk(3, -1)
        return x + gate * self.body(self.norm(x) * (1 + scale) + shift)


class FlowPrior(nn.Module):
    """Velocity field on z; latents are standardised by buffers that travel with the weights."""

    def __init__(self, latent_dim: int, width: int, blocks: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.register_buffer("mean", torch.zeros(latent_dim))
        self.register_buffer("std", torch.ones(latent_dim))
        self.enter = nn.Linear(latent_dim, width)
        self.time = nn.Sequential(
            nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.blocks = nn.ModuleList(_Block(width) for _ in range(blocks))
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, latent_dim))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """(B, D) velocity at standardised ``x`` (B, D) and time ``t`` (B,) in [0, 1]."""
        frequency = torch.logspace(0, 2, 32, device=t.device) * math.pi / 2
        phase = t[:, None] * frequency
        time = self.time(torch.cat([phase.sin(), phase.cos()], 1))
        hidden = self.enter(x)
        for block in self.blocks:
            hidden = block(hidden, time)
        return self.leave(hidden)

    def loss(self, z: Tensor, rng: torch.Generator) -> Tensor:
        """Mean squared error of the velocity on straight paths from noise to ``z`` (B, D)."""
        data = (z - self.mean) / self.std
        noise = torch.randn(data.shape, generator=rng, device=data.device)
        t = torch.rand(len(data), generator=rng, device=data.device)
        path = noise + t[:, None] * (data - noise)
        return (self(path, t) - (data - noise)).square().mean()

    @torch.no_grad()
    def transport(self, noise: Tensor, steps: int = 50) -> Tensor:
        """(B, D) latents from standard normal ``noise`` (B, D), by Heun's method."""
        x = noise
        times = torch.linspace(0, 1, steps + 1, device=noise.device)
        for start, end in itertools.pairwise(times):
            ahead = self(x, start.expand(len(x)))
            there = self(x + (end - start) * ahead, end.expand(len(x)))
            x = x + (end - start) * 0.5 * (ahead + there)
        return x * self.std + self.mean
