"""The crystal diffusion variational autoencoder (Xie et al., ICLR 2022)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch_geometric.utils import scatter

from cdvae.crystal import CrystalBatch
from cdvae.model.backbone import BackboneConfig, neighbour_density
from cdvae.model.decoder import Decoder
from cdvae.model.encoder import Encoder, Latent
from cdvae.model.heads import Attributes, Heads
from cdvae.score import ScoreOutput


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the whole model and the range of noise that it is trained for."""

    latent_dim: int
    max_atoms: int
    properties: tuple[str, ...]
    encoder: BackboneConfig
    decoder: BackboneConfig
    head_width: int = 256
    sigma_max: float = 10.0  # Å
    sigma_min: float = 0.01  # Å


class CDVAE(nn.Module):
    """Encoder, heads and decoder; knows neither losses nor samplers."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.encoder, config.latent_dim)
        self.heads = Heads(
            config.latent_dim, config.max_atoms, len(config.properties), config.head_width
        )
        self.decoder = Decoder(config.decoder, config.latent_dim, config.encoder.radial)

    def encode(self, crystals: CrystalBatch) -> Latent:
        """The posterior over z of each crystal."""
        return self.encoder(crystals, self.encoder.geometry(crystals))

    def attributes(self, z: Tensor) -> Attributes:
        """What the heads read from latents (B, D)."""
        return self.heads(z)

    def score(self, z: Tensor, crystals: CrystalBatch, sigma: Tensor) -> ScoreOutput:
        """The denoising score of ``crystals`` at noise level ``sigma`` (B,) Å given z (B, D)."""
        return self.decoder(z, crystals, sigma)

    def site_misfit(self, z: Tensor, crystals: CrystalBatch) -> Tensor:
        """(B,) how far the sites in ``crystals`` are from those that z (B, D) foresees.

        Mean over the atoms of the squared difference of neighbour densities; small where every
        element sits on the kind of site that the latent gives it.
        """
        graph = self.encoder.geometry(crystals)
        density = neighbour_density(graph, len(crystals.frac))
        error = (self.decoder.sites(z, crystals) - density).square().sum(-1)
        return scatter(error, crystals.owner, 0, len(crystals), reduce="mean")
