"""The network of FTCP: a convolutional autoencoder over the rows of the matrix."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from baselines.ftcp.representation import STRIDE, Layout

NORM_EPS, NORM_MOMENTUM = 1e-3, 0.01
"""Settings of batch normalization: the defaults of Keras, as in the original."""
WIDE, HIDDEN = 128, 1024


def _batch_norm(channels: int) -> nn.BatchNorm1d:
    return nn.BatchNorm1d(channels, eps=NORM_EPS, momentum=NORM_MOMENTUM)


class FTCPNetwork(nn.Module):
    """Encoder, decoder and target branch, with the scales of matrices and properties."""

    row_min: Tensor  # (R,)
    row_range: Tensor  # (R,) 1 where a row is constant
    property_min: Tensor  # (P,) units of the data
    property_range: Tensor  # (P,)

    def __init__(self, layout: Layout, properties: int, latent_dim: int) -> None:
        super().__init__()
        self.layout = layout
        short = layout.rows // STRIDE
        self.encoder = nn.Sequential(
            nn.Conv1d(layout.channels, 32, 5, stride=2, padding=2),
            _batch_norm(32),
            nn.LeakyReLU(0.2),
            nn.Conv1d(32, 64, 3, stride=2, padding=1),
            _batch_norm(64),
            nn.LeakyReLU(0.2),
            nn.Conv1d(64, WIDE, 3, padding=1),
            _batch_norm(WIDE),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(short * WIDE, HIDDEN),
            nn.Sigmoid(),
        )
        self.posterior = nn.Linear(HIDDEN, 2 * latent_dim)
        self.target = nn.Sequential(
            nn.ReLU(),
            nn.Linear(latent_dim, 128),
            nn.ReLU(),
            nn.Linear(128, 32),
            nn.ReLU(),
            nn.Linear(32, properties),
            nn.Sigmoid(),
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, short * WIDE),
            nn.ReLU(),
            nn.Unflatten(1, (WIDE, short)),
            _batch_norm(WIDE),
            nn.ConvTranspose1d(WIDE, 64, 3, padding=1),
            _batch_norm(64),
            nn.ReLU(),
            nn.ConvTranspose1d(64, 32, 3, stride=2, padding=1, output_padding=1),
            _batch_norm(32),
            nn.ReLU(),
        )
        self.output = nn.ConvTranspose1d(
            32, layout.channels, 5, stride=2, padding=2, output_padding=1
        )
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv1d | nn.ConvTranspose1d):
                nn.init.xavier_uniform_(module.weight)
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        self.register_buffer("row_min", torch.zeros(layout.rows))
        self.register_buffer("row_range", torch.ones(layout.rows))
        self.register_buffer("property_min", torch.zeros(properties))
        self.register_buffer("property_range", torch.ones(properties))

    def fit_scales(self, matrices: Tensor, properties: Tensor) -> None:
        """Set minimum and range of each row and each property from training data.

        Args:
            matrices: (N, C, R) from :func:`represent`.
            properties: (N, P), NaN where unknown.
        """
        lowest, highest = matrices.amin((0, 1)), matrices.amax((0, 1))
        self.row_min.copy_(lowest)
        self.row_range.copy_(torch.where(highest > lowest, highest - lowest, 1.0))
        unknown = properties.isnan()
        lowest = properties.masked_fill(unknown, torch.inf).amin(0)
        highest = properties.masked_fill(unknown, -torch.inf).amax(0)
        self.property_min.copy_(lowest)
        self.property_range.copy_(highest - lowest)

    def scale(self, matrices: Tensor) -> Tensor:
        """Return the matrices (B, C, R) with every row in [0, 1] on training data."""
        return (matrices - self.row_min) / self.row_range

    def unscale(self, scaled: Tensor) -> Tensor:
        """Return the matrices (B, C, R) in their units; the inverse of :meth:`scale`."""
        return scaled * self.row_range + self.row_min

    def scale_properties(self, values: Tensor) -> Tensor:
        """Return the properties (B, P) in [0, 1] on training data."""
        return (values - self.property_min) / self.property_range

    def encode(self, scaled: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance (B, D) of the latents of scaled matrices (B, C, R)."""
        mean, logvar = self.posterior(self.encoder(scaled)).chunk(2, -1)
        return mean, logvar

    def decode(self, latents: Tensor) -> Tensor:
        """Return the scaled matrices (B, C, R) of latents (B, D)."""
        scaled: Tensor = self.output(self.decoder(latents)).sigmoid()
        return scaled

    def predict(self, latents: Tensor) -> Tensor:
        """Return the scaled properties (B, P) of latents (B, D)."""
        values: Tensor = self.target(latents)
        return values
