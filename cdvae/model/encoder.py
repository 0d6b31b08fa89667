"""Crystal → distribution over the latent z."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch_geometric.utils import scatter

from cdvae.crystal import CrystalBatch
from cdvae.elements import NUM_SPECIES
from cdvae.model.backbone import Backbone, BackboneConfig, Geometry, geometry, mlp


@dataclass(frozen=True)
class Latent:
    """A diagonal normal over z for each crystal."""

    mean: Tensor  # (B, D)
    logvar: Tensor  # (B, D)

    def sample(self, rng: torch.Generator) -> Tensor:
        """(B, D) one draw each."""
        noise = torch.randn(self.mean.shape, generator=rng, device=self.mean.device)
        return self.mean + (0.5 * self.logvar).exp() * noise

    def kl(self) -> Tensor:
        """(B,) KL divergence from N(0, I), nats."""
        return 0.5 * (self.mean**2 + self.logvar.exp() - 1 - self.logvar).sum(-1)


class Encoder(nn.Module):
    """Mean over the atoms of a message-passing network: the same for every cell of a crystal."""

    def __init__(self, config: BackboneConfig, latent_dim: int) -> None:
        super().__init__()
        self.config = config
        width = config.scalars
        self.species = nn.Embedding(NUM_SPECIES, width)
        self.scale = mlp(1, width, width)
        self.backbone = Backbone(config)
        self.norm = nn.LayerNorm(width)
        self.readout = mlp(width, 2 * width, 2 * width)
        self.latent = nn.Sequential(nn.SiLU(), nn.Linear(2 * width, 2 * latent_dim))

    def geometry(self, crystals: CrystalBatch) -> Geometry:
        """The edges that the encoder sees."""
        return geometry(crystals, self.config)

    def forward(self, crystals: CrystalBatch, graph: Geometry) -> Latent:
        """The posterior over z of each crystal, ``graph`` being its :meth:`geometry`."""
        owner = crystals.owner
        scale = self.scale(crystals.spacing.log()[:, None])
        scalars = self.species(crystals.species - 1) + scale[owner]
        scalars, _ = self.backbone(scalars, graph)
        atoms = self.readout(self.norm(scalars))
        pooled = scatter(atoms, owner, 0, len(crystals), reduce="mean")
        mean, logvar = self.latent(pooled).chunk(2, -1)
        # Bounds that no useful posterior meets; they keep exp() finite early in training.
        return Latent(mean, logvar.clamp(-12, 4))
