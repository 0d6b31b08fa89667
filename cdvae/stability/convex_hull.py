"""Convex hulls by linear programming.

The hull's energy at a composition is the least energy of a mixture of phases with this
composition. A program with one variable for each phase of the chemical system finds it for any
number of elements; `pymatgen.analysis.phase_diagram.PhaseDiagram` computes all facets of the
hull instead, whose number explodes with the elements. Tests compare both for up to four elements.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.optimize import linprog

from cdvae.stability.phase_reference import Phase, PhaseReference

MIN_FRACTION = 1e-6
"""Smaller shares of a decomposition are rounding."""
MAX_SYSTEMS = 1000
"""Chemical systems whose phases are kept ready."""


@dataclass(frozen=True)
class HullPoint:
    """The hull at one composition."""

    energy: float  # eV/atom
    decomposition: tuple[tuple[Phase, float], ...]  # with fractions of the atoms, largest first


@dataclass(frozen=True)
class _System:
    elements: tuple[int, ...]
    phases: tuple[Phase, ...]
    fractions: np.ndarray  # (elements, phases), of the atoms
    energies: np.ndarray  # (phases,) eV/atom


class ConvexHull:
    """The hull of a reference. Chemical systems are assembled when they are first asked for.

    Args:
        reference: the phases.
    """

    def __init__(self, reference: PhaseReference) -> None:
        self.reference = reference
        self._systems: dict[frozenset[int], _System] = {}

    def missing(self, amounts: dict[int, int]) -> frozenset[int]:
        """Return the elements that are not phases themselves; without them there is no hull."""
        return frozenset(amounts) - self.reference.elements

    def at(self, amounts: dict[int, int]) -> HullPoint:
        """Return the hull at a composition.

        Args:
            amounts: numbers of atoms by atomic number.

        Raises:
            ValueError: the reference lacks an element.
        """
        if missing := self.missing(amounts):
            raise ValueError(f"no phase of the elements {sorted(missing)}")
        system = self._system(frozenset(amounts))
        total = sum(amounts.values())
        target = [amounts[z] / total for z in system.elements]
        found = linprog(
            system.energies, A_eq=system.fractions, b_eq=target, bounds=(0, None), method="highs"
        )
        if not found.success:
            raise ArithmeticError(f"the linear program of the hull failed: {found.message}")
        mixture = [
            (phase, float(share))
            for phase, share in zip(system.phases, found.x, strict=True)
            if share > MIN_FRACTION
        ]
        mixture.sort(key=lambda pair: (-pair[1], pair[0].composition))
        return HullPoint(float(found.fun), tuple(mixture))

    def _system(self, elements: frozenset[int]) -> _System:
        if elements not in self._systems:
            if len(self._systems) >= MAX_SYSTEMS:
                self._systems.pop(next(iter(self._systems)))
            self._systems[elements] = self._assembled(elements)
        return self._systems[elements]

    def _assembled(self, elements: frozenset[int]) -> _System:
        order = tuple(sorted(elements))
        phases = tuple(phase for system in self._subsystems(elements) for phase in system)
        fractions = np.zeros((len(order), len(phases)))
        for column, phase in enumerate(phases):
            total = sum(amount for _, amount in phase.composition)
            for z, amount in phase.composition:
                fractions[order.index(z), column] = amount / total
        energies = np.array([phase.energy for phase in phases])
        return _System(order, phases, fractions, energies)

    def _subsystems(self, elements: frozenset[int]) -> Iterator[list[Phase]]:
        known = self.reference.by_system
        if 2 ** len(elements) > len(known):
            yield from (phases for system, phases in known.items() if system <= elements)
            return
        for size in range(1, len(elements) + 1):
            for part in combinations(sorted(elements), size):
                yield known.get(frozenset(part), [])
