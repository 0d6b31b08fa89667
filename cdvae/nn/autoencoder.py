"""The crystal diffusion variational autoencoder (Xie et al., ICLR 2022)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch_geometric.utils import scatter

from cdvae.geometry.crystal import CrystalBatch
from cdvae.nn.backbone import BackboneConfig
from cdvae.nn.decoder import Condition, Decoder
from cdvae.nn.encoder import Encoder, Posterior
from cdvae.nn.heads import Heads


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the model and the range of noise levels that it is trained for."""

    latent_dim: int
    max_atoms: int
    properties: tuple[str, ...]
    encoder: BackboneConfig
    decoder: BackboneConfig
    head_width: int = 256
    sigma_max: float = 0.4  # in units of the longest cell vector
    sigma_min: float = 0.02  # Å
    atom_latent_dim: int = 0  # size of the latent of each atom; 0: no atom latents


class CDVAE(nn.Module):
    """Encoder, heads and decoder, without losses and samplers."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        latent_dim, atom_latent_dim = config.latent_dim, config.atom_latent_dim
        self.encoder = Encoder(config.encoder, latent_dim, config.max_atoms, atom_latent_dim)
        self.heads = Heads(
            latent_dim, config.max_atoms, len(config.properties), config.head_width, atom_latent_dim
        )
        self.decoder = Decoder(config.decoder, latent_dim, config.encoder.radial, atom_latent_dim)

    def encode(self, crystals: CrystalBatch) -> Posterior:
        """Return the posterior over z of each crystal and over the latent of each atom."""
        return self.encoder(crystals, self.encoder.geometry(crystals))

    def latent_mse(self, condition: Condition, crystals: CrystalBatch) -> Tensor:
        """Return the mean squared distance (B,) of the latents of ``crystals`` from ``condition``.

        It is zero for the crystal that was encoded. Atom latents count if the decoder uses them.
        """
        posterior = self.encode(crystals)
        latent_mse = (posterior.z.mean - condition.z).square().mean(-1)
        if self.config.atom_latent_dim == 0:
            return latent_mse
        away = (posterior.atom_latents.mean - condition.atom_latents).square().mean(-1)
        away = scatter(away, crystals.batch, 0, len(crystals), reduce="mean")
        return latent_mse + condition.has_atom_latents * away
