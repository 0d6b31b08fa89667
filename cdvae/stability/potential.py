"""The protocol of an interatomic potential, and what it says about a structure.

A potential answers for each structure of a batch: energy, forces and stress, or the reason why it
cannot treat that structure. It never raises for a structure and never lets one structure change
the answer of another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms

MIN_DISTANCE = 0.5
"""Å; atoms nearer than this overlap. No potential was trained on such structures."""
MIN_VOLUME_PER_ATOM = 2.0
"""Å³; the densest crystals at ambient pressure have more than 5."""


@dataclass(frozen=True)
class Evaluation:
    """Energy, forces and stress of a structure with N atoms."""

    energy: float  # eV
    forces: np.ndarray  # (N, 3) eV/Å
    stress: np.ndarray  # (3, 3) eV/Å³, symmetric, positive under tension as in ASE

    @property
    def finite(self) -> bool:
        """Return True if all numbers are finite."""
        return bool(np.isfinite([self.energy, *self.forces.flat, *self.stress.flat]).all())


@dataclass(frozen=True)
class Untreatable:
    """Why a potential cannot treat a structure."""

    reason: str


Answer = Evaluation | Untreatable


class Potential(Protocol):
    """An interatomic potential."""

    @property
    def name(self) -> str:
        """The name in the literature, such as ``CHGNet``."""

    @property
    def version(self) -> str:
        """The versions of the package and of the weights."""

    @property
    def elements(self) -> frozenset[int]:
        """The atomic numbers that it knows."""

    def evaluate(self, structures: Sequence[Atoms]) -> list[Answer]:
        """Return one answer for each structure, in their order."""

    def energies(self, structures: Sequence[Atoms]) -> list[float | Untreatable]:
        """Return the energy of each structure in eV, which costs less than `evaluate`."""


def label(potential: Potential) -> str:
    """Return the name and version of ``potential`` in one string, for records."""
    return f"{potential.name} {potential.version}"


def reason_against(atoms: Atoms, elements: frozenset[int]) -> str | None:
    """Return why a potential for ``elements`` cannot treat ``atoms``; None if it may try.

    Distances are not checked here: :class:`~cdvae.stability.atom_graph.GraphError` reports them.
    """
    if not len(atoms):
        return "the structure has no atoms"
    if unknown := sorted(set(atoms.numbers.tolist()) - elements):
        from ase.data import chemical_symbols

        return f"the potential does not know {', '.join(chemical_symbols[z] for z in unknown)}"
    numbers = np.concatenate([atoms.cell.array, atoms.positions])
    if not np.isfinite(numbers).all():
        return "the cell or the positions are not finite"
    if (volume := abs(np.linalg.det(atoms.cell.array)) / len(atoms)) < MIN_VOLUME_PER_ATOM:
        return f"{volume:.2g} Å³ per atom is below {MIN_VOLUME_PER_ATOM:g} Å³"
    return None
