"""Constraints on the crystals of a job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Target:
    """A property and the value to approach, in the card's units."""

    prop: str
    value: float


@dataclass(frozen=True)
class Constraints:
    """Requirements that all crystals must meet; None or an empty set constrains nothing.

    The cell holds the atoms of ``composition`` once if the model knows cells of that size. It holds
    a multiple of them if ``num_atoms`` or ``lattice`` ask for more atoms, or if all known cells are
    larger.
    """

    num_atoms: int | None = None
    composition: Mapping[int, int] | None = None  # atomic number: atoms
    include: frozenset[int] = field(default_factory=frozenset)  # atomic numbers
    exclude: frozenset[int] = field(default_factory=frozenset)
    lattice: Tensor | None = None  # (3, 3) Å, rows
    spacegroup: int | None = None
    target: Target | None = None

    def __bool__(self) -> bool:
        """Return True if anything is constrained."""
        fields = (self.num_atoms, self.composition, self.lattice, self.spacegroup, self.target)
        return any(one is not None for one in fields) or bool(self.include or self.exclude)
