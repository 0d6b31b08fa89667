"""Crystal → properties: a network of its own that judges what the generator makes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.utils import scatter

from cdvae.geometry.crystal import CrystalBatch
from cdvae.geometry.elements import NUM_SPECIES
from cdvae.linear import Linear
from cdvae.nn.backbone import Backbone, BackboneConfig, Geometry, geometry, mlp, neighbor_search

LENGTH_SCALE_RANGE = 5.0
"""Standard deviations of log (V/N)^(1/3) from the training mean beyond which density is not read.

Generated crystals can be far denser or thinner than any seen; the estimate stays finite there.
"""


class PropertyModel(nn.Module):
    """Mean over the atoms of a message-passing network: the same for every cell of a crystal.

    It shares no weights with the autoencoder and never sees a latent. Means and deviations of the
    training data are buffers and travel with the weights.
    """

    def __init__(self, config: BackboneConfig, num_properties: int) -> None:
        super().__init__()
        self.config = config
        width = config.scalars
        self.element_embedding = nn.Embedding(NUM_SPECIES, width)
        self.scale = mlp(1, width, width)
        self.backbone = Backbone(config)
        self.norm = nn.LayerNorm(width)
        self.atoms = mlp(width, width, width)
        self.readout = nn.Sequential(nn.SiLU(), Linear(width, num_properties))
        self.register_buffer("length_scale_mean", torch.zeros(()))
        self.register_buffer("length_scale_std", torch.ones(()))
        self.register_buffer("property_mean", torch.zeros(num_properties))
        self.register_buffer("property_std", torch.ones(num_properties))

    def fit_scalers(self, crystals: CrystalBatch, properties: Tensor) -> None:
        """Sets means and deviations from N training crystals and properties (N, P), NaN unknown."""
        length_scale = crystals.length_scale.double().log()
        self.length_scale_mean.copy_(length_scale.mean())
        self.length_scale_std.copy_(length_scale.std().clamp(min=1e-2))
        values = properties.double()
        mean = values.nanmean(0)
        self.property_mean.copy_(mean)
        self.property_std.copy_((values - mean).square().nanmean(0).sqrt().clamp(min=1e-6))

    def geometry(self, crystals: CrystalBatch) -> Geometry:
        """The edges that the network sees."""
        search = neighbor_search(crystals, self.config)
        return geometry(search, crystals.frac_coords, self.config.radial)

    def forward(self, crystals: CrystalBatch, graph: Geometry) -> Tensor:
        """(B, P) standardized properties, ``graph`` being the crystals' :meth:`geometry`."""
        batch = crystals.batch
        length_scale = (
            crystals.length_scale.log() - self.length_scale_mean
        ) / self.length_scale_std
        scale = self.scale(length_scale.clamp(-LENGTH_SCALE_RANGE, LENGTH_SCALE_RANGE)[:, None])
        scalars = self.element_embedding(crystals.atomic_numbers - 1) + scale[batch]
        scalars, _ = self.backbone(scalars, graph)
        pooled = scatter(self.atoms(self.norm(scalars)), batch, 0, len(crystals), reduce="mean")
        return self.readout(pooled)

    def target(self, values: Tensor) -> Tensor:
        """(B, P) standardized properties of ``values`` in the units of the data."""
        return (values - self.property_mean) / self.property_std

    def values(self, crystals: CrystalBatch) -> Tensor:
        """(B, P) properties in the units of the data."""
        return self(crystals, self.geometry(crystals)) * self.property_std + self.property_mean
