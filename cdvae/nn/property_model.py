"""The property model, which predicts properties from crystals, not from latents."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.utils import scatter

from cdvae.geometry.crystal import CrystalBatch
from cdvae.geometry.elements import NUM_SPECIES
from cdvae.linear import Linear
from cdvae.nn.backbone import Backbone, BackboneConfig, Geometry, geometry, mlp, neighbor_search

LENGTH_SCALE_RANGE = 5.0
"""Range of log (V/N)^(1/3) around the training mean, in standard deviations; inputs are clamped.

So the estimate stays finite for generated crystals with extreme densities.
"""


class PropertyModel(nn.Module):
    """The mean over the atoms of a message-passing network, equal for every cell of a crystal.

    It shares no weights with the autoencoder. Means and deviations of the training data are
    buffers, stored with the weights.
    """

    length_scale_mean: Tensor
    length_scale_std: Tensor
    property_mean: Tensor  # (P,)
    property_std: Tensor  # (P,)

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
        """Set means and deviations from N crystals and properties (N, P), NaN where unknown."""
        length_scale = crystals.length_scale.double().log()
        self.length_scale_mean.copy_(length_scale.mean())
        self.length_scale_std.copy_(length_scale.std().clamp(min=1e-2))
        values = properties.double()
        mean = values.nanmean(0)
        self.property_mean.copy_(mean)
        self.property_std.copy_((values - mean).square().nanmean(0).sqrt().clamp(min=1e-6))

    def geometry(self, crystals: CrystalBatch) -> Geometry:
        """Return the geometry that the network sees."""
        search = neighbor_search(crystals, self.config)
        return geometry(search, crystals.frac_coords, self.config.radial)

    def forward(self, crystals: CrystalBatch, graph: Geometry) -> Tensor:
        """Return standardized properties (B, P), given the :meth:`geometry` of the crystals."""
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
        """Return ``values`` (B, P), in the units of the data, standardized."""
        return (values - self.property_mean) / self.property_std

    def values(self, crystals: CrystalBatch) -> Tensor:
        """Return the properties (B, P) in the units of the data."""
        return self(crystals, self.geometry(crystals)) * self.property_std + self.property_mean
