"""Crystal → distribution over the latent z."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch_geometric.utils import scatter

from cdvae.geometry.crystal import CrystalBatch
from cdvae.geometry.elements import NUM_SPECIES
from cdvae.geometry.lattice import to_log_metric
from cdvae.nn.backbone import Backbone, BackboneConfig, Geometry, geometry, mlp, neighbour_search
from cdvae.nn.structure_factors import PlaceEncoder


@dataclass(frozen=True)
class Latent:
    """A diagonal normal for each row: over z for each crystal, or over the code of each atom."""

    mean: Tensor  # (B, D)
    logvar: Tensor  # (B, D)

    def sample(self, rng: torch.Generator) -> Tensor:
        """(B, D) one draw each."""
        noise = torch.randn(self.mean.shape, generator=rng, device=self.mean.device)
        return self.mean + (0.5 * self.logvar).exp() * noise

    def kl(self) -> Tensor:
        """(B,) KL divergence from N(0, I), nats."""
        return 0.5 * (self.mean**2 + self.logvar.exp() - 1 - self.logvar).sum(-1)


@dataclass(frozen=True)
class Latents:
    """What B crystals are decoded from; new ones have no codes."""

    z: Tensor  # (B, D)
    codes: Tensor  # (A, K)
    n_codes: Tensor  # (B,) int64, atoms of each crystal that have codes: all or none

    @staticmethod
    def of(z: Tensor) -> Latents:
        """``z`` (B, D) alone."""
        none = torch.zeros(len(z), dtype=torch.int64, device=z.device)
        return Latents(z, z.new_zeros(0, 0), none)

    @staticmethod
    def cat(parts: Sequence[Latents]) -> Latents:
        """Those of all ``parts``, which come of one model."""
        widest = max((part.codes.shape[1] for part in parts), default=0)
        codes = [part.codes for part in parts if part.codes.shape[1] == widest]
        return Latents(
            torch.cat([part.z for part in parts]),
            torch.cat(codes),
            torch.cat([part.n_codes for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.z)

    def select(self, rows: Sequence[int]) -> Latents:
        """Those of the crystals ``rows``."""
        parts = self.codes.split(self.n_codes.tolist())
        codes = torch.cat([parts[i] for i in rows]) if rows else self.codes[:0]
        return Latents(self.z[list(rows)], codes, self.n_codes[list(rows)])


@dataclass(frozen=True)
class Posterior:
    """What the encoder says of B crystals with A atoms."""

    z: Latent  # (B, D)
    codes: Latent  # (A, K)
    n_atoms: Tensor  # (B,) int64

    def __len__(self) -> int:
        return len(self.n_atoms)

    def means(self) -> Latents:
        """The means of z and of the codes."""
        return Latents(self.z.mean, self.codes.mean, self.n_atoms)

    def select(self, rows: Sequence[int]) -> Posterior:
        """Those of the crystals ``rows``; a row may be repeated."""
        sizes, rows = self.n_atoms.tolist(), list(rows)
        parts = torch.arange(len(self.codes.mean), device=self.n_atoms.device).split(sizes)
        atoms = torch.cat([parts[i] for i in rows])
        return Posterior(
            Latent(self.z.mean[rows], self.z.logvar[rows]),
            Latent(self.codes.mean[atoms], self.codes.logvar[atoms]),
            self.n_atoms[rows],
        )

    @staticmethod
    def cat(parts: Sequence[Posterior]) -> Posterior:
        """All of ``parts`` in one."""
        z = Latent(torch.cat([p.z.mean for p in parts]), torch.cat([p.z.logvar for p in parts]))
        codes = Latent(
            torch.cat([p.codes.mean for p in parts]), torch.cat([p.codes.logvar for p in parts])
        )
        return Posterior(z, codes, torch.cat([p.n_atoms for p in parts]))


class Encoder(nn.Module):
    """Mean over the atoms of a message-passing network, and the cell that the crystal is given in.

    The mean alone is the same for a cell and its supercells, so it cannot tell how many atoms are
    to be decoded, nor into which cell. N and the metric of the cell are invariant under rotation;
    the data layer reduces every cell, so equal crystals still have equal latents.

    A mean also blurs which atom is where. Beside z every atom gets a code of a few numbers, read
    from its surroundings and its place among the waves of the cell (``code_dim`` 0: none).
    """

    def __init__(
        self, config: BackboneConfig, latent_dim: int, max_atoms: int, code_dim: int
    ) -> None:
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
        self.code = PlaceEncoder(width, 2 * code_dim) if code_dim else None
        if self.code is not None:
            with torch.no_grad():  # narrow from the start: what is drowned in noise is not learned
                self.code.leave[-1].bias[code_dim:] = -3.0

    def geometry(self, crystals: CrystalBatch) -> Geometry:
        """The edges that the encoder sees."""
        search = neighbour_search(crystals, self.config)
        return geometry(search, crystals.frac, self.config.radial)

    def forward(self, crystals: CrystalBatch, graph: Geometry) -> Posterior:
        """The posterior of each crystal, ``graph`` being its :meth:`geometry`."""
        atoms, species = self._atoms(crystals, graph)
        size = self.size(crystals.n_atoms.clamp(max=self.size.num_embeddings - 1))
        cell = self.cell(to_log_metric(crystals.lattice, crystals.n_atoms))
        pooled = self._mean(atoms, species, crystals)
        mean, logvar = self.latent(self.hidden(torch.cat([pooled, size, cell], 1))).chunk(2, -1)
        codes = atoms.new_zeros(len(atoms), 0) if self.code is None else self.code(atoms, crystals)
        code_mean, code_logvar = codes.chunk(2, -1)
        # Bounds that no useful posterior meets; they keep exp() finite early in training.
        return Posterior(
            Latent(mean, logvar.clamp(-12, 4)),
            Latent(code_mean, code_logvar.clamp(-12, 4)),
            crystals.n_atoms,
        )

    def pool(self, crystals: CrystalBatch, graph: Geometry) -> Tensor:
        """(B, 3S) what is the same for every cell of a crystal: means over its atoms."""
        return self._mean(*self._atoms(crystals, graph), crystals)

    def _atoms(self, crystals: CrystalBatch, graph: Geometry) -> tuple[Tensor, Tensor]:
        """(A, S) the network's output and (A, S) the embedding of the element of each atom."""
        species = self.species(crystals.species - 1)
        scale = self.scale(crystals.spacing.log()[:, None])
        scalars, _ = self.backbone(species + scale[crystals.owner], graph)
        return self.norm(scalars), species

    def _mean(self, atoms: Tensor, species: Tensor, crystals: CrystalBatch) -> Tensor:
        """The plain mean of the elements' embeddings beside the network's output makes the
        composition easy to keep in z from the first step on.
        """
        both = torch.cat([self.readout(atoms), species], 1)
        return scatter(both, crystals.owner, 0, len(crystals), reduce="mean")
