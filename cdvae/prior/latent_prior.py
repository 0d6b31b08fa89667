"""Where the encoder puts the data: a learned density over z to draw new crystals from.

p(z) = Σ_c p(c) p(z | c): first a composition c, then z by flow matching with straight paths (Lipman
et al. 2023), which carries N(0, I) to where the encoder puts crystals of that composition: to the
means of posteriors, whose width is noise to the decoder, and along the principal components of
these means alone, as the other directions say next to nothing and a flow would spend itself on
them. The standard normal stays available, but with a weak KL term it has holes. New crystals are
decoded from z alone: there is no prior of the codes of atoms.
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
    """Residual layer, modulated by time and composition."""

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
    """Composition, then a velocity field on K coordinates of z (D numbers).

    Buffers kept with the weights: ``mean`` (D,) of z, ``axes`` (K, D) orthogonal, each as long as
    the standard deviation of z along it.
    """

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
        """(B, K) velocity at coordinates ``x`` (B, K) and time ``t`` (B,) in [0, 1].

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
        """Mean squared error of the velocity on straight paths from noise to ``z`` (B, D)."""
        data = self.coordinates(z)
        noise = torch.randn(data.shape, generator=rng, device=data.device)
        t = torch.rand(len(data), generator=rng, device=data.device)
        path = noise + t[:, None] * (data - noise)
        return (self(path, t, counts) - (data - noise)).square().mean()

    def coordinates(self, z: Tensor) -> Tensor:
        """(B, K) of ``z`` (B, D) along the axes, in units of its spread over the training data."""
        return linear(z - self.mean, self.axes / self.axes.square().sum(1, keepdim=True))

    def sample_from_noise(self, noise: Tensor, counts: Tensor, steps: int = 5) -> Tensor:
        """(B, D) latents from standard normal ``noise`` (B, K), by Heun's method.

        The paths are nearly straight: five steps end within 0.01 standard deviations of a hundred.
        ``counts`` (B, Z) are the atoms of each element that the crystals shall have. The map can be
        differentiated by both.
        """
        times = torch.linspace(0, 1, steps + 1, device=noise.device)
        return linear(self._flow(noise, counts, times), self.axes.T) + self.mean

    def invert(self, z: Tensor, counts: Tensor, steps: int = 25) -> Tensor:
        """(B, K) the noise from which :meth:`sample_from_noise` reaches ``z`` (B, D)."""
        times = torch.linspace(1, 0, steps + 1, device=z.device)
        return self._flow(self.coordinates(z), counts, times)

    def _flow(self, x: Tensor, counts: Tensor, times: Tensor) -> Tensor:
        for start, end in itertools.pairwise(times):
            ahead = self(x, start.expand(len(x)), counts)
            there = self(x + (end - start) * ahead, end.expand(len(x)), counts)
            x = x + (end - start) * 0.5 * (ahead + there)
        return x
