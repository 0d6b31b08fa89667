"""Crystal → distribution over the latent z."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch_geometric.utils import scatter

from cdvae.crystal import CrystalBatch
from cdvae.elements import NUM_SPECIES
from cdvae.lattice import to_log_metric
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
    """Mean over the atoms of a message-passing network, and the cell that the crystal is given in.

    The mean alone is the same for a cell and its supercells, so it cannot tell how many atoms are
    to be decoded, nor into which cell. N and the metric of the cell are invariant under rotation;
    the data layer reduces every cell, so equal crystals still have equal latents.
    """

    def __init__(self, config: BackboneConfig, latent_dim: int, max_atoms: int) -> None:
        super().__init__()
        self.config = config
        width = config.scalars
        self.species = nn.Embedding(NUM_SPECIES, width)
        self.scale = mlp(1, width, width)
        self.backbone = Backbone(config)
        self.norm = nn.LayerNorm(width)
        self.readout = mlp(width, 2 * width, 2 * width)
        self.size = nn.Embedding(max_atoms + 1, width)
        self.cell = mlp(6, width, width)
        self.hidden = nn.Linear(5 * width, 4 * width)
        self.latent = nn.Sequential(nn.SiLU(), nn.Linear(4 * width, 2 * latent_dim))

    def geometry(self, crystals: CrystalBatch) -> Geometry:
        """The edges that the encoder sees."""
        return geometry(crystals, self.config)

    def forward(self, crystals: CrystalBatch, graph: Geometry) -> Latent:
        """The posterior over z of each crystal, ``graph`` being its :meth:`geometry`."""
        size = self.size(crystals.n_atoms.clamp(max=self.size.num_embeddings - 1))
        cell = self.cell(to_log_metric(crystals.lattice, crystals.n_atoms))
        hidden = self.hidden(torch.cat([self.pool(crystals, graph), size, cell], 1))
        mean, logvar = self.latent(hidden).chunk(2, -1)
        # Bounds that no useful posterior meets; they keep exp() finite early in training.
        return Latent(mean, logvar.clamp(-12, 4))

    def pool(self, crystals: CrystalBatch, graph: Geometry) -> Tensor:
        """(B, 3S) what is the same for every cell of a crystal: means over its atoms.

        The plain mean of the elements' embeddings beside the network's output makes the
        composition easy to keep in z from the first step on.
        """
        owner = crystals.owner
        species = self.species(crystals.species - 1)
        scale = self.scale(crystals.spacing.log()[:, None])
        scalars, _ = self.backbone(species + scale[owner], graph)
        atoms = torch.cat([self.readout(self.norm(scalars)), species], 1)
        return scatter(atoms, owner, 0, len(crystals), reduce="mean")
