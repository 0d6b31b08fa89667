"""The codes of the atoms of a crystal given z and the elements: flow matching on a set."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch_geometric.utils import to_dense_batch

from cdvae.elements import NUM_SPECIES
from cdvae.model.backbone import mlp

TIME_FEATURES = 64
HEADS = 4


class CodePrior(nn.Module):
    """A transformer over the atoms, whose order means nothing, gives the velocity of their codes.

    Straight paths from N(0, I) to codes as in :class:`cdvae.model.prior.LatentPrior`; buffers kept
    with the weights standardise the codes. ``z`` comes standardised.
    """

    def __init__(self, latent_dim: int, code_dim: int, width: int, layers: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(code_dim))
        self.register_buffer("std", torch.ones(code_dim))
        self.enter = nn.Linear(code_dim, width)
        self.species = nn.Embedding(NUM_SPECIES, width)
        self.context = mlp(latent_dim + TIME_FEATURES, 2 * width, width)
        layer = nn.TransformerEncoderLayer(
            width,
            HEADS,
            2 * width,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.body = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, code_dim))

    def forward(self, x: Tensor, t: Tensor, z: Tensor, species: Tensor, owner: Tensor) -> Tensor:
        """(A, K) velocity of standardised codes.

        Args:
            x: (A, K) codes on their way.
            t: (B,) time in [0, 1].
            z: (B, D) standardised latents.
            species: (A,) atomic numbers.
            owner: (A,) crystal of each atom, ascending.
        """
        frequency = torch.logspace(0, 2, TIME_FEATURES // 2, device=t.device) * math.pi / 2
        phase = t[:, None] * frequency
        context = self.context(torch.cat([z, phase.sin(), phase.cos()], 1))
        atoms = self.enter(x) + self.species(species - 1) + context.index_select(0, owner)
        padded, live = to_dense_batch(atoms, owner, batch_size=len(z))
        return self.leave(self.body(padded, src_key_padding_mask=~live)[live])

    def loss(
        self, codes: Tensor, z: Tensor, species: Tensor, owner: Tensor, rng: torch.Generator
    ) -> Tensor:
        """Mean squared error of the velocity on straight paths from noise to ``codes`` (A, K)."""
        data = (codes - self.mean) / self.std
        noise = torch.randn(data.shape, generator=rng, device=data.device)
        t = torch.rand(len(z), generator=rng, device=data.device)
        path = noise + t.index_select(0, owner)[:, None] * (data - noise)
        return (self(path, t, z, species, owner) - (data - noise)).square().mean()

    def transport(
        self, noise: Tensor, z: Tensor, species: Tensor, owner: Tensor, steps: int
    ) -> Tensor:
        """(A, K) codes from standard normal ``noise`` (A, K), by Heun's method."""
        x = noise
        for start, end in itertools.pairwise(torch.linspace(0, 1, steps + 1, device=z.device)):
            ahead = self(x, start.expand(len(z)), z, species, owner)
            there = self(x + (end - start) * ahead, end.expand(len(z)), z, species, owner)
            x = x + (end - start) * 0.5 * (ahead + there)
        return x * self.std + self.mean
