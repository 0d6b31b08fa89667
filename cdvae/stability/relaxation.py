"""Relaxation: crystals moved to the nearest minimum of an interatomic potential.

All crystals of a call advance together, one step at a time, and the potential evaluates them in
batches. A crystal leaves when it has converged, failed or used its steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from cdvae.metrics.matching import match
from cdvae.stability.fire import CellFire
from cdvae.stability.kept_symmetry import KeptSymmetry
from cdvae.stability.potential import Answer, Potential, Untreatable

if TYPE_CHECKING:
    from ase import Atoms

MAX_FORCE = 0.05
"""eV/Å; a crystal has converged when no force is larger, the forces on the cell included."""
MAX_STEPS = 300


@dataclass(frozen=True)
class Relaxation:
    """A relaxed crystal and the one that it was made from."""

    given: Structure
    structure: Structure
    energy_before: float  # eV/atom
    energy: float  # eV/atom
    largest_force: float  # eV/Å, at the end
    steps: int
    converged: bool

    @cached_property
    def rmsd(self) -> float | None:
        """RMS distance of the two in units of (V/N)^(1/3); None where they do not match."""
        return match(self.given, self.structure)


class _Descent:
    """The relaxation of one crystal; the order of its atoms is kept."""

    def __init__(self, structure: Structure, max_force: float, steps: int) -> None:
        self._given, self._max_force, self._max_steps = structure, max_force, steps
        self._numbers = np.array(structure.atomic_numbers)
        self._symmetry: KeptSymmetry | None = None
        cell, frac_coords = structure.lattice.matrix, structure.frac_coords
        self._search = CellFire(cell, frac_coords @ cell)
        self._energies: list[float] = []
        self._largest = np.inf
        self.failure: Untreatable | None = None
        self.done = False

    def keep_symmetry(self, symprec: float) -> None:
        cell, frac_coords = self._given.lattice.matrix, self._given.frac_coords
        try:
            self._symmetry = KeptSymmetry(cell, frac_coords, self._numbers, symprec)
            cell, frac_coords = self._symmetry.symmetrized(cell, frac_coords)
            self._search = CellFire(cell, frac_coords @ cell)
        except (ValueError, np.linalg.LinAlgError) as error:
            self._fail(str(error))

    def atoms(self) -> Atoms:
        from ase import Atoms

        return Atoms(
            numbers=self._numbers,
            positions=self._search.positions,
            cell=self._search.cell,
            pbc=True,
        )

    def take(self, answer: Answer) -> None:
        """Move one step along the forces at the present place, or end."""
        if isinstance(answer, Untreatable):
            when = f"after {len(self._energies)} steps: " if self._energies else ""
            self._fail(when + answer.reason)
            return
        if self._symmetry is not None:
            answer = self._symmetry.project(answer, self._search.cell)
        self._energies.append(answer.energy / len(self._numbers))
        try:
            forces = self._search.forces(answer)
            self._largest = float(np.sqrt((forces**2).sum(1)).max())
            self.done = self._largest < self._max_force or len(self._energies) > self._max_steps
            if not self.done:
                self._search.step(forces)
        except (ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
            self._fail(f"after {len(self._energies)} steps: {error}")

    def _fail(self, reason: str) -> None:
        self.failure, self.done = Untreatable(reason), True

    def result(self) -> Relaxation | Untreatable:
        """Return what became of the crystal."""
        if self.failure is not None:
            return self.failure
        lattice = Lattice(self._search.cell)
        species: list[Any] = list(self._given.species)
        relaxed = Structure(
            lattice, species, self._search.positions, coords_are_cartesian=True, to_unit_cell=True
        )
        return Relaxation(
            self._given,
            relaxed,
            self._energies[0],
            self._energies[-1],
            self._largest,
            len(self._energies) - 1,
            self._largest < self._max_force,
        )


def relax(
    structures: Sequence[Structure],
    potential: Potential,
    on_step: Callable[[int], None] | None = None,
    *,
    max_force: float = MAX_FORCE,
    max_steps: int = MAX_STEPS,
    symprec: float | None = None,
) -> list[Relaxation | Untreatable]:
    """Return ``structures`` with cell and sites relaxed together by FIRE.

    The result of a crystal does not depend on the others if that holds for the potential's
    answers. A crystal that the potential cannot treat, at the start or on its way, gets the
    reason instead.

    Args:
        structures: ordered crystals.
        potential: gives the forces.
        on_step: called after each step with the number of crystals that are done; it may raise to
            stop.
        max_force: eV/Å, below which a crystal has converged.
        max_steps: steps at most.
        symprec: Å; the space group found with this tolerance is kept. None keeps none.
    """
    descents = [_Descent(structure, max_force, max_steps) for structure in structures]
    if symprec is not None:
        for one in descents:
            one.keep_symmetry(symprec)
    while left := [one for one in descents if not one.done]:
        answers = potential.evaluate([one.atoms() for one in left])
        for descent, answer in zip(left, answers, strict=True):
            descent.take(answer)
        if on_step:
            on_step(sum(one.done for one in descents))
    return [one.result() for one in descents]
