"""A learned density over z, from which new crystals are drawn.

p(z) = Σ_c p(c) p(z | c): a composition c is drawn first, then z by flow matching with straight
paths (Lipman et al. 2023). The flow carries N(0, I) to the posterior means of crystals with that
composition; their width is noise for the decoder and left out. It uses only the principal
components of the means: the other directions hold almost no information and would take most of the
capacity of the flow. (With a weak KL term, the standard normal does not fit the latents.) There is
no prior for the atom latents, so the decoder makes new crystals from z without them.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from cdvae.geometry.elements import NUM_SPECIES
from cdvae.linear import Linear, linear
from cdvae.prior.composition_prior import CompositionPrior


class _FlowBlock(nn.Module):
    """A residual layer, modulated by time and composition."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate = Linear(width, 3 * width)
        self.body = nn.Sequential(Linear(width, 2 * width), nn.SiLU(), Linear(2 * width, width))
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        scale, shift, gate = self.modulate(context).chunk(3, -1)
        return x + gate * self.body(self.norm(x) * (1 + scale) + shift)


class LatentPrior(nn.Module):
    """A density of compositions, and a velocity field on K coordinates of z (D numbers)."""

    mean: Tensor  # (D,) of z over the training data
    axes: Tensor  # (K, D) orthogonal; their lengths are the standard deviations of z along them

    def __init__(
        self, latent_dim: int, components: int, max_atoms: int, width: int, blocks: int
    ) -> None:
        super().__init__()
        self.components = components
        self.composition = CompositionPrior(max_atoms, width)
        self.register_buffer("mean", torch.zeros(latent_dim))
        self.register_buffer("axes", torch.eye(components, latent_dim))
        self.enter = Linear(components, width)
        self.time = nn.Sequential(Linear(64, width), nn.SiLU(), Linear(width, width))
        self.elements = nn.Sequential(
            Linear(NUM_SPECIES + 1, width), nn.SiLU(), Linear(width, width)
        )
        self.blocks = nn.ModuleList(_FlowBlock(width) for _ in range(blocks))
        self.leave = nn.Sequential(nn.LayerNorm(width), Linear(width, components))

    def forward(self, x: Tensor, t: Tensor, counts: Tensor) -> Tensor:
        """Return the velocity (B, K) at coordinates ``x`` (B, K) and time ``t`` (B,) in [0, 1].

        ``counts`` (B, Z) are the atoms of each element.
        """
        frequency = torch.logspace(0, 2, 32, device=t.device) * math.pi / 2
        phase = t[:, None] * frequency
        size = counts.sum(-1, keepdim=True)
        elements = self.elements(torch.cat([counts / size, size.log()], 1))
        time = self.time(torch.cat([phase.sin(), phase.cos()], 1))
        context = nn.functional.silu(time + elements)
        hidden = self.enter(x) + elements
        for block in self.blocks:
            hidden = block(hidden, context)
        return self.leave(hidden)

    def flow_loss(self, z: Tensor, counts: Tensor, rng: torch.Generator) -> Tensor:
        """Return the mean squared error of the velocity on straight paths to ``z`` (B, D)."""
        data = self.coordinates(z)
        noise = torch.randn(data.shape, generator=rng, device=data.device)
        t = torch.rand(len(data), generator=rng, device=data.device)
        path = noise + t[:, None] * (data - noise)
        return (self(path, t, counts) - (data - noise)).square().mean()

    def coordinates(self, z: Tensor) -> Tensor:
        """Return the coordinates (B, K) of ``z`` (B, D) along the axes, in standard deviations."""
        return linear(z - self.mean, self.axes / self.axes.square().sum(1, keepdim=True))

    def sample_from_noise(self, noise: Tensor, counts: Tensor, steps: int = 5) -> Tensor:
        """Return latents (B, D) from standard normal ``noise`` (B, K), by Heun's method.

        The paths are nearly straight: five steps end within 0.01 standard deviations of a hundred.
        ``counts`` (B, Z) are the atoms of each element. The map is differentiable in both.
        """
        times = torch.linspace(0, 1, steps + 1, device=noise.device)
        return linear(self._flow(noise, counts, times), self.axes.T) + self.mean

    def invert(self, z: Tensor, counts: Tensor, steps: int = 25) -> Tensor:
        """Return the noise (B, K) from which :meth:`sample_from_noise` reaches ``z`` (B, D)."""
        times = torch.linspace(1, 0, steps + 1, device=z.device)
        return self._flow(self.coordinates(z), counts, times)

    def _flow(self, x: Tensor, counts: Tensor, times: Tensor) -> Tensor:
        for start, end in itertools.pairwise(times):
            ahead = self(x, start.expand(len(x)), counts)
            there = self(x + (end - start) * ahead, end.expand(len(x)), counts)
            x = x + (end - start) * 0.5 * (ahead + there)
        return x
