"""Batches of crystals as tensors.

Conventions of the whole package: lattice vectors are **rows**, in Å; angles are in degrees;
fractional coordinates lie in [0, 1); a species is its atomic number; Cartesian coordinates are
``frac_coords @ lattice``. In shapes, A counts atoms, B crystals, E edges, L noise levels, D latent
dimensions and Z elements.
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
    """B crystals with A atoms in total; the atoms of a crystal are contiguous.

    Raises:
        ValueError: the shapes or the dtypes of the fields do not fit together.
    """

    frac_coords: Tensor  # (A, 3) in [0, 1)
    atomic_numbers: Tensor  # (A,) int64, atomic numbers
    lattice: Tensor  # (B, 3, 3) Å, rows
    num_atoms: Tensor  # (B,) int64

    def __post_init__(self) -> None:
        if self.frac_coords.ndim != 2 or self.frac_coords.shape[1] != 3:
            raise ValueError(f"frac_coords is {tuple(self.frac_coords.shape)}, not (A, 3)")
        if self.atomic_numbers.shape != self.frac_coords.shape[:1]:
            shape = tuple(self.atomic_numbers.shape)
            raise ValueError(f"atomic_numbers {shape} for {len(self.frac_coords)} atoms")
        if self.lattice.shape != (len(self.num_atoms), 3, 3):
            raise ValueError(f"lattice {tuple(self.lattice.shape)} for {len(self)} crystals")
        if self.atomic_numbers.dtype != torch.int64 or self.num_atoms.dtype != torch.int64:
            raise ValueError("atomic_numbers and num_atoms must be int64")
        if int(self.num_atoms.sum()) != len(self.frac_coords):
            raise ValueError(
                f"num_atoms adds up to {int(self.num_atoms.sum())}, not {len(self.frac_coords)}"
            )

    def __len__(self) -> int:
        return len(self.num_atoms)

    @cached_property
    def batch(self) -> Tensor:
        """(A,) index of the crystal that each atom belongs to."""
        index = torch.arange(len(self), device=self.num_atoms.device)
        return index.repeat_interleave(self.num_atoms, output_size=len(self.frac_coords))

    @property
    def volume(self) -> Tensor:
        """(B,) cell volumes, Å³."""
        return volume(self.lattice)

    @cached_property
    def length_scale(self) -> Tensor:
        """(B,) (V/N)^(1/3), Å: the length scale of a crystal, equal for all of its cells."""
        # Single-precision powers round by the position of a number in its tensor.
        return ((self.volume / self.num_atoms).double() ** (1 / 3)).to(self.lattice)

    def replace(self, **fields: Tensor) -> CrystalBatch:
        """Return the same crystals with some fields replaced."""
        changed = replace(self, **fields)
        if "num_atoms" not in fields:  # the cached values remain valid
            cached = ("batch",) if "lattice" in fields else ("batch", "length_scale")
            vars(changed).update({name: vars(self)[name] for name in cached if name in vars(self)})
        return changed

    def to(self, device: torch.device | str) -> CrystalBatch:
        """Return the batch on ``device``."""
        return CrystalBatch(
            self.frac_coords.to(device),
            self.atomic_numbers.to(device),
            self.lattice.to(device),
            self.num_atoms.to(device),
        )

    def select(self, crystals: Tensor | Sequence[int]) -> CrystalBatch:
        """Return the crystals with these indices, in this order; an index may be repeated."""
        index = torch.as_tensor(crystals, dtype=torch.int64, device=self.num_atoms.device)
        num_atoms = self.num_atoms[index]
        first = (self.num_atoms.cumsum(0) - self.num_atoms)[index]
        within = torch.arange(int(num_atoms.sum()), device=index.device)
        within = within - (num_atoms.cumsum(0) - num_atoms).repeat_interleave(num_atoms)
        atoms = first.repeat_interleave(num_atoms) + within
        return CrystalBatch(
            self.frac_coords[atoms], self.atomic_numbers[atoms], self.lattice[index], num_atoms
        )

    def split(self) -> list[CrystalBatch]:
        """Return a batch of one for each crystal."""
        sizes = self.num_atoms.tolist()
        parts = zip(self.frac_coords.split(sizes), self.atomic_numbers.split(sizes), strict=True)
        return [
            CrystalBatch(
                frac_coords, atomic_numbers, self.lattice[i : i + 1], self.num_atoms[i : i + 1]
            )
            for i, (frac_coords, atomic_numbers) in enumerate(parts)
        ]

    @staticmethod
    def cat(batches: Sequence[CrystalBatch]) -> CrystalBatch:
        """Return all crystals of ``batches`` in one batch.

        Raises:
            ValueError: there is no batch.
        """
        if not batches:
            raise ValueError("no batch to concatenate")
        return CrystalBatch(
            torch.cat([b.frac_coords for b in batches]),
            torch.cat([b.atomic_numbers for b in batches]),
            torch.cat([b.lattice for b in batches]),
            torch.cat([b.num_atoms for b in batches]),
        )


def element_counts(crystals: CrystalBatch) -> Tensor:
    """Return the atoms of each element (B, Z); column k is atomic number k + 1."""
    counts = crystals.lattice.new_zeros(len(crystals), NUM_SPECIES)
    place = (crystals.batch, crystals.atomic_numbers - 1)
    return counts.index_put_(place, counts.new_ones(()), accumulate=True)
