"""Any calculator of ASE as a potential, evaluated one structure at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cdvae.stability.potential import Answer, Evaluation, Untreatable, reason_against

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator


class AsePotential:
    """A calculator as a `Potential`.

    Args:
        calculator: computes energies, forces and stresses.
        name: for records.
        version: for records.
        elements: atomic numbers that the calculator knows; all by default.
    """

    def __init__(
        self,
        calculator: Calculator,
        name: str = "ASE",
        version: str = "",
        elements: frozenset[int] = frozenset(range(1, 119)),
    ) -> None:
        self._calculator = calculator
        self.name, self.version, self.elements = name, version, elements

    def evaluate(self, structures: Sequence[Atoms]) -> list[Answer]:
        """Return the answer for each structure; an exception of the calculator is a reason."""
        return [self._evaluate(atoms) for atoms in structures]

    def energies(self, structures: Sequence[Atoms]) -> list[float | Untreatable]:
        """Return eV for each structure."""
        answers = self.evaluate(structures)
        return [one.energy if isinstance(one, Evaluation) else one for one in answers]

    def _evaluate(self, atoms: Atoms) -> Answer:
        if reason := reason_against(atoms, self.elements):
            return Untreatable(reason)
        copy = atoms.copy()
        copy.calc = self._calculator
        try:
            found = Evaluation(
                float(copy.get_potential_energy()),
                np.asarray(copy.get_forces(), dtype=float),
                np.asarray(copy.get_stress(voigt=False), dtype=float),
            )
        except Exception as error:  # calculators raise any exception of their programs
            return Untreatable(f"{self.name} failed: {error}")
        return found if found.finite else Untreatable("the result of the potential is not finite")
