"""The heads: z → number of atoms, lattice, composition and properties."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cdvae.geometry.crystal import CrystalBatch
from cdvae.geometry.elements import NUM_SPECIES
from cdvae.geometry.lattice import from_log_metric, to_log_metric
from cdvae.nn.backbone import last_linear, mlp

LATTICE_STD_FLOOR = 0.02
"""Least deviation to divide by, a strain: the angles of Perov-5 do not vary at all."""

LATTICE_RANGE = 8.0
"""Largest deviation of a predicted cell from the mean training cell, in standard deviations."""


@dataclass(frozen=True)
class Attributes:
    """The predictions of the heads for each latent."""

    num_atoms_logits: Tensor  # (B, N+1), class 0 is masked
    log_metric: Tensor  # (B, 6) standardized, see cdvae.geometry.lattice.to_log_metric
    count_logits: Tensor  # (B, Z, N+1) atoms of each element; 0 for unknown elements
    properties: Tensor  # (B, P) standardized


class Heads(nn.Module):
    """One small network for each attribute; the scalers are buffers, stored with the weights."""

    lattice_mean: Tensor  # (6,)
    lattice_std: Tensor  # (6,)
    property_mean: Tensor  # (P,)
    property_std: Tensor  # (P,)
    known_species: Tensor  # (Z,) bool
    known_sizes: Tensor  # (N + 1,) bool

    def __init__(
        self, latent_dim: int, max_atoms: int, num_properties: int, width: int, atom_latent_dim: int
    ) -> None:
        super().__init__()
        self.num_atoms = mlp(latent_dim, width, max_atoms + 1)
        self.lattice = mlp(latent_dim, width, 6)
        self.composition = mlp(latent_dim, width, NUM_SPECIES * (max_atoms + 1))
        with torch.no_grad():  # most elements are absent from a crystal
            last_linear(self.composition).bias.view(NUM_SPECIES, -1)[:, 0] = 6.0
        self.element = mlp(atom_latent_dim, width, NUM_SPECIES) if atom_latent_dim else None
        self.properties = nn.ModuleList(mlp(latent_dim, width, 1) for _ in range(num_properties))
        self.register_buffer("lattice_mean", torch.zeros(6))
        self.register_buffer("lattice_std", torch.ones(6))
        self.register_buffer("property_mean", torch.zeros(num_properties))
        self.register_buffer("property_std", torch.ones(num_properties))
        self.register_buffer("known_species", torch.ones(NUM_SPECIES, dtype=torch.bool))
        self.register_buffer("known_sizes", torch.arange(max_atoms + 1) > 0)

    def fit_scalers(self, crystals: CrystalBatch, properties: Tensor) -> None:
        """Set means, deviations and the known elements and sizes from training data.

        Args:
            crystals: all N training crystals.
            properties: (N, P), NaN where unknown.
        """
        metric = to_log_metric(crystals.lattice.double(), crystals.num_atoms)
        self.lattice_mean.copy_(metric.mean(0))
        self.lattice_std.copy_(metric.std(0).clamp(min=LATTICE_STD_FLOOR))
        values = properties.double()
        known = values.isfinite()
        count = known.sum(0)
        mean = torch.where(known, values, 0).sum(0) / count
        self.property_mean.copy_(mean)
        variance = torch.where(known, (values - mean) ** 2, 0).sum(0) / count
        self.property_std.copy_(variance.sqrt().clamp(min=1e-6))
        self.known_species.zero_()[crystals.atomic_numbers.unique() - 1] = True
        self.known_sizes.zero_()[crystals.num_atoms.unique()] = True

    def forward(self, z: Tensor) -> Attributes:
        """Return the predictions of all heads for latents ``z`` (B, D)."""
        num_atoms = self.size_logits(z)
        counts = self.composition(z).unflatten(1, (NUM_SPECIES, -1))
        impossible = ~self.known_species[:, None] & (torch.arange(counts.shape[2]) > 0).to(z.device)
        counts = counts.masked_fill(impossible, -torch.inf)
        properties = [head(z) for head in self.properties]
        stacked = torch.cat(properties, 1) if properties else z.new_zeros(len(z), 0)
        return Attributes(num_atoms, self.lattice(z), counts, stacked)

    def size_logits(self, z: Tensor) -> Tensor:
        """Return logits (B, N+1) of the number of atoms, given latents ``z`` (B, D)."""
        return self.num_atoms(z).masked_fill(~self.known_sizes, -torch.inf)

    def _element_network(self) -> nn.Module:
        assert self.element is not None, "this model has no atom latents"
        return self.element

    def species_logits(self, atom_latents: Tensor) -> Tensor:
        """Return element logits (A, Z) of the ``atom_latents`` (A, K); K must not be zero."""
        return self._element_network()(atom_latents).masked_fill(~self.known_species, -torch.inf)

    def lattice_of(self, log_metric: Tensor, num_atoms: Tensor) -> Tensor:
        """Return lattices (B, 3, 3), Å, from standardized predictions (B, 6).

        Predictions stay within LATTICE_RANGE deviations of the mean: a latent far from the data
        must not give a needle-shaped cell, in which the neighbor search would not end.
        """
        log_metric = log_metric.clamp(-LATTICE_RANGE, LATTICE_RANGE)
        return from_log_metric(log_metric * self.lattice_std + self.lattice_mean, num_atoms)

    def lattice_target(self, lattice: Tensor, num_atoms: Tensor) -> Tensor:
        """Return the standardized targets (B, 6) of lattices (B, 3, 3) Å."""
        return (to_log_metric(lattice, num_atoms) - self.lattice_mean) / self.lattice_std

    def property_target(self, values: Tensor) -> Tensor:
        """Return the standardized properties (B, P)."""
        return (values - self.property_mean) / self.property_std

    def property_values(self, standardized: Tensor) -> Tensor:
        """Return the properties (B, P) in the units of the data."""
        return standardized * self.property_std + self.property_mean
