"""Crystals as tensors, many at a time.

Conventions of the whole package: lattice vectors are **rows**, in Å; angles are in degrees;
fractional coordinates lie in [0, 1); a species is its atomic number; ``cart = frac @ lattice``.
Shapes are written with A atoms, B crystals, E edges, L noise levels and D latent dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from cdvae.geometry.elements import NUM_SPECIES
from cdvae.geometry.lattice import volume


@dataclass(frozen=True)
class CrystalBatch:
    """B crystals with A atoms in all; the atoms of a crystal are contiguous.

    Raises:
        ValueError: the shapes or the dtypes of the fields do not fit together.
    """

    frac: Tensor  # (A, 3) in [0, 1)
    species: Tensor  # (A,) int64, atomic numbers
    lattice: Tensor  # (B, 3, 3) Å, rows
    n_atoms: Tensor  # (B,) int64

    def __post_init__(self) -> None:
        if self.frac.ndim != 2 or self.frac.shape[1] != 3:
            raise ValueError(f"frac is {tuple(self.frac.shape)}, not (A, 3)")
        if self.species.shape != self.frac.shape[:1]:
            raise ValueError(f"species {tuple(self.species.shape)} for {len(self.frac)} atoms")
        if self.lattice.shape != (len(self.n_atoms), 3, 3):
            raise ValueError(f"lattice {tuple(self.lattice.shape)} for {len(self)} crystals")
        if self.species.dtype != torch.int64 or self.n_atoms.dtype != torch.int64:
            raise ValueError("species and n_atoms must be int64")
        if int(self.n_atoms.sum()) != len(self.frac):
            raise ValueError(f"n_atoms adds up to {int(self.n_atoms.sum())}, not {len(self.frac)}")

    def __len__(self) -> int:
        return len(self.n_atoms)

    @cached_property
    def owner(self) -> Tensor:
        """(A,) index of the crystal that each atom belongs to."""
        index = torch.arange(len(self), device=self.n_atoms.device)
        return index.repeat_interleave(self.n_atoms, output_size=len(self.frac))

    @property
    def cart(self) -> Tensor:
        """(A, 3) Cartesian coordinates, Å."""
        return torch.einsum("ai,aij->aj", self.frac, self.lattice[self.owner])

    @property
    def volume(self) -> Tensor:
        """(B,) cell volumes, Å³."""
        return volume(self.lattice)

    @cached_property
    def spacing(self) -> Tensor:
        """(B,) (V/N)^(1/3), Å: the length scale of a crystal, whatever cell describes it."""
        # In double, because single powers round by the place of a number among the others.
        return ((self.volume / self.n_atoms).double() ** (1 / 3)).to(self.lattice)

    def replace(self, **fields: Tensor) -> CrystalBatch:
        """The same crystals with some fields exchanged."""
        changed = replace(self, **fields)
        if "n_atoms" not in fields:  # what is known of the sizes and cells remains so
            kept = ("owner",) if "lattice" in fields else ("owner", "spacing")
            vars(changed).update({name: vars(self)[name] for name in kept if name in vars(self)})
        return changed

    def to(self, device: torch.device | str) -> CrystalBatch:
        """The batch on ``device``."""
        return CrystalBatch(
            self.frac.to(device),
            self.species.to(device),
            self.lattice.to(device),
            self.n_atoms.to(device),
        )

    def select(self, crystals: Tensor | Sequence[int]) -> CrystalBatch:
        """The crystals with these indices, in this order; an index may be repeated."""
        index = torch.as_tensor(crystals, dtype=torch.int64, device=self.n_atoms.device)
        n_atoms = self.n_atoms[index]
        first = (self.n_atoms.cumsum(0) - self.n_atoms)[index]
        within = torch.arange(int(n_atoms.sum()), device=index.device)
        within = within - (n_atoms.cumsum(0) - n_atoms).repeat_interleave(n_atoms)
        atoms = first.repeat_interleave(n_atoms) + within
        return CrystalBatch(self.frac[atoms], self.species[atoms], self.lattice[index], n_atoms)

    def split(self) -> list[CrystalBatch]:
        """One batch of one crystal for each crystal."""
        sizes = self.n_atoms.tolist()
        parts = zip(self.frac.split(sizes), self.species.split(sizes), strict=True)
        return [
            CrystalBatch(frac, species, self.lattice[i : i + 1], self.n_atoms[i : i + 1])
            for i, (frac, species) in enumerate(parts)
        ]

    @staticmethod
    def cat(batches: Sequence[CrystalBatch]) -> CrystalBatch:
        """All crystals of ``batches`` in one batch.

        Raises:
            ValueError: there is no batch.
        """
        if not batches:
            raise ValueError("no batch to concatenate")
        return CrystalBatch(
            torch.cat([b.frac for b in batches]),
            torch.cat([b.species for b in batches]),
            torch.cat([b.lattice for b in batches]),
            torch.cat([b.n_atoms for b in batches]),
        )


def element_counts(crystals: CrystalBatch) -> Tensor:
    """(B, Z) number of atoms of each element in each crystal; column k is atomic number k + 1."""
    counts = crystals.lattice.new_zeros(len(crystals), NUM_SPECIES)
    place = (crystals.owner, crystals.species - 1)
    return counts.index_put_(place, counts.new_ones(()), accumulate=True)
