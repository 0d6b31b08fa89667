"""What every crystal of a job must have."""

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
    """Elements are atomic numbers; what is None or empty is left to the model.

    The atoms of ``composition`` are exactly those of the cell where the model knows cells of so
    many; where ``num_atoms`` or ``lattice`` ask for more, or no known cell is as small, they are a
    multiple of it.
    """

    num_atoms: int | None = None
    composition: Mapping[int, int] | None = None
    include: frozenset[int] = field(default_factory=frozenset)
    exclude: frozenset[int] = field(default_factory=frozenset)
    lattice: Tensor | None = None  # (3, 3) Å, rows
    spacegroup: int | None = None
    target: Target | None = None

    def __bool__(self) -> bool:
        """Return whether there is any."""
        fields = (self.num_atoms, self.composition, self.lattice, self.spacegroup, self.target)
        return any(one is not None for one in fields) or bool(self.include or self.exclude)
