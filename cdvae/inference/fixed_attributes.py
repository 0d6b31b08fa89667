"""Attributes of a crystal that the heads do not read from z."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class FixedAttributes:
    """The composition of a crystal, and optionally its cell and its space group."""

    counts: Tensor  # (Z,) atoms of each element
    lattice: Tensor | None = None  # (3, 3) Å, rows
    spacegroup: int | None = None

    @property
    def num_atoms(self) -> int:
        """The number of atoms in the cell."""
        return int(self.counts.sum())
