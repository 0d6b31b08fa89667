"""The crystal diffusion variational autoencoder (Xie et al., ICLR 2022)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from cdvae.crystal import CrystalBatch
from cdvae.model.backbone import BackboneConfig
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
    sigma_max: float = 0.4  # of the longest vector of the cell
    sigma_min: float = 0.02  # Å


class CDVAE(nn.Module):
    """Encoder, heads and decoder; knows neither losses nor samplers."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.encoder, config.latent_dim, config.max_atoms)
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

    def misfit(self, z: Tensor, crystals: CrystalBatch) -> Tensor:
        """(B,) how far ``crystals`` are from those that z (B, D) describes.

        Mean squared distance of their own latents from z; zero for the crystal that was encoded.
        """
        return (self.encode(crystals).mean - z).square().mean(-1)
