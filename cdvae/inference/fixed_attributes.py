"""What a crystal has, whatever the heads read from its z."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class FixedAttributes:
    """The atoms of a crystal, and on wish its cell and its space group."""

    counts: Tensor  # (Z,) atoms of each element
    lattice: Tensor | None = None  # (3, 3) Å, rows
    spacegroup: int | None = None

    @property
    def num_atoms(self) -> int:
        """All atoms of the cell."""
        return int(self.counts.sum())
