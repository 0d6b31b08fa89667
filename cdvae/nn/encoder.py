"""The encoder: the posterior over the latent z and the atom latents of a crystal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch_geometric.utils import scatter

from cdvae.geometry.crystal import CrystalBatch
from cdvae.geometry.elements import NUM_SPECIES
from cdvae.geometry.lattice import to_log_metric
from cdvae.linear import Linear
from cdvae.nn.backbone import (
    Backbone,
    BackboneConfig,
    Geometry,
    geometry,
    last_linear,
    mlp,
    neighbor_search,
)
from cdvae.nn.structure_factors import PhaseEncoder


@dataclass(frozen=True)
class Latent:
    """Diagonal normals: over the z of each crystal, or over the latent of each atom."""

    mean: Tensor  # (B, D)
    logvar: Tensor  # (B, D)

    def sample(self, rng: torch.Generator) -> Tensor:
        """Return one draw (B, D) of each normal."""
        noise = torch.randn(self.mean.shape, generator=rng, device=self.mean.device)
        return self.mean + (0.5 * self.logvar).exp() * noise

    def kl(self) -> Tensor:
        """Return the KL divergence (B,) from N(0, I), nats."""
        return 0.5 * (self.mean**2 + self.logvar.exp() - 1 - self.logvar).sum(-1)


@dataclass(frozen=True)
class Latents:
    """The latents of B crystals; new crystals have no atom latents."""

    z: Tensor  # (B, D)
    atom_latents: Tensor  # (A, K)
    num_atom_latents: Tensor  # (B,) int64: atoms of the crystal, or 0 without atom latents

    @staticmethod
    def of(z: Tensor) -> Latents:
        """Return latents with ``z`` (B, D) and without atom latents."""
        none = torch.zeros(len(z), dtype=torch.int64, device=z.device)
        return Latents(z, z.new_zeros(0, 0), none)

    @staticmethod
    def cat(parts: Sequence[Latents]) -> Latents:
        """Return the latents of all ``parts``, which are from one model."""
        widest = max((part.atom_latents.shape[1] for part in parts), default=0)
        atom_latents = [part.atom_latents for part in parts if part.atom_latents.shape[1] == widest]
        return Latents(
            torch.cat([part.z for part in parts]),
            torch.cat(atom_latents),
            torch.cat([part.num_atom_latents for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.z)

    def select(self, rows: Sequence[int]) -> Latents:
        """Return the latents of the crystals ``rows``."""
        parts = self.atom_latents.split(self.num_atom_latents.tolist())
        atom_latents = torch.cat([parts[i] for i in rows]) if rows else self.atom_latents[:0]
        return Latents(self.z[list(rows)], atom_latents, self.num_atom_latents[list(rows)])


@dataclass(frozen=True)
class Posterior:
    """The posterior of B crystals with A atoms."""

    z: Latent  # (B, D)
    atom_latents: Latent  # (A, K)
    num_atoms: Tensor  # (B,) int64

    def __len__(self) -> int:
        return len(self.num_atoms)

    def means(self) -> Latents:
        """Return the means of z and of the atom latents."""
        return Latents(self.z.mean, self.atom_latents.mean, self.num_atoms)

    def select(self, rows: Sequence[int]) -> Posterior:
        """Return the posterior of the crystals ``rows``, which may repeat."""
        sizes, rows = self.num_atoms.tolist(), list(rows)
        parts = torch.arange(len(self.atom_latents.mean), device=self.num_atoms.device).split(sizes)
        atoms = torch.cat([parts[i] for i in rows])
        return Posterior(
            Latent(self.z.mean[rows], self.z.logvar[rows]),
            Latent(self.atom_latents.mean[atoms], self.atom_latents.logvar[atoms]),
            self.num_atoms[rows],
        )

    @staticmethod
    def cat(parts: Sequence[Posterior]) -> Posterior:
        """Return the posterior of the crystals of all ``parts``."""
        z = Latent(torch.cat([p.z.mean for p in parts]), torch.cat([p.z.logvar for p in parts]))
        atom_latents = Latent(
            torch.cat([p.atom_latents.mean for p in parts]),
            torch.cat([p.atom_latents.logvar for p in parts]),
        )
        return Posterior(z, atom_latents, torch.cat([p.num_atoms for p in parts]))


class Encoder(nn.Module):
    """A message-passing network; z is read from the mean over the atoms, N and the cell.

    The mean over the atoms is the same for a cell and its supercells, so it determines neither the
    number of atoms nor the cell. N and the metric of the cell are invariant under rotation; the
    data layer reduces every cell, so equal crystals still have equal latents.

    The mean also blurs the positions. Therefore every atom has a latent of a few numbers, too, read
    from its surroundings and its position relative to the waves of the cell. ``atom_latent_dim`` 0
    is a model without atom latents.
    """

    def __init__(
        self, config: BackboneConfig, latent_dim: int, max_atoms: int, atom_latent_dim: int
    ) -> None:
        super().__init__()
        self.config = config
        width = config.scalars
        self.element_embedding = nn.Embedding(NUM_SPECIES, width)
        self.scale = mlp(1, width, width)
        self.backbone = Backbone(config)
        self.norm = nn.LayerNorm(width)
        self.readout = mlp(width, 2 * width, 2 * width)
        self.size = nn.Embedding(max_atoms + 1, width)
        self.cell = mlp(6, width, width)
        self.hidden = Linear(5 * width, 4 * width)
        self.latent = nn.Sequential(nn.SiLU(), Linear(4 * width, 2 * latent_dim))
        self.atom_latent = PhaseEncoder(width, 2 * atom_latent_dim) if atom_latent_dim else None
        if self.atom_latent is not None:
            with torch.no_grad():  # start narrow: noise must not hide the means
                last_linear(self.atom_latent.leave).bias[atom_latent_dim:] = -3.0

    def geometry(self, crystals: CrystalBatch) -> Geometry:
        """Return the geometry that the encoder sees."""
        search = neighbor_search(crystals, self.config)
        return geometry(search, crystals.frac_coords, self.config.radial)

    def forward(self, crystals: CrystalBatch, graph: Geometry) -> Posterior:
        """Return the posterior of the crystals, given their :meth:`geometry`."""
        atoms, elements = self._atoms(crystals, graph)
        size = self.size(crystals.num_atoms.clamp(max=self.size.num_embeddings - 1))
        cell = self.cell(to_log_metric(crystals.lattice, crystals.num_atoms))
        pooled = self._mean(atoms, elements, crystals)
        mean, logvar = self.latent(self.hidden(torch.cat([pooled, size, cell], 1))).chunk(2, -1)
        atom_latents = (
            atoms.new_zeros(len(atoms), 0)
            if self.atom_latent is None
            else self.atom_latent(atoms, crystals)
        )
        atom_mean, atom_logvar = atom_latents.chunk(2, -1)
        # No useful posterior reaches these bounds; they keep exp() finite early in training.
        return Posterior(
            Latent(mean, logvar.clamp(-12, 4)),
            Latent(atom_mean, atom_logvar.clamp(-12, 4)),
            crystals.num_atoms,
        )

    def _atoms(self, crystals: CrystalBatch, graph: Geometry) -> tuple[Tensor, Tensor]:
        """Return the output of the network (A, S) and the element embeddings (A, S)."""
        elements = self.element_embedding(crystals.atomic_numbers - 1)
        scale = self.scale(crystals.length_scale.log()[:, None])
        scalars, _ = self.backbone(elements + scale[crystals.batch], graph)
        return self.norm(scalars), elements

    def _mean(self, atoms: Tensor, elements: Tensor, crystals: CrystalBatch) -> Tensor:
        """Return the means (B, 3S) over the atoms, equal for every cell of a crystal.

        The mean of the element embeddings makes the composition easy to read from the first
        training step on.
        """
        both = torch.cat([self.readout(atoms), elements], 1)
        return scatter(both, crystals.batch, 0, len(crystals), reduce="mean")
