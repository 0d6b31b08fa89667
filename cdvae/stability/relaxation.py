"""Relaxation: crystals moved to the nearest minimum of an interatomic potential.

The potential is CHGNet (Deng et al., Nature Machine Intelligence 2023), of the package set `relax`,
whose weights come with its package. ASE's FIRE moves each crystal; the potential is asked for all
of a batch at once. Both packages are imported when they are needed: a worker runs without them.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from cdvae.metrics.matching import match

if TYPE_CHECKING:
    from ase import Atoms

LARGEST_FORCE = 0.1
"""eV/Å; below it, also for the forces on the cell, a crystal counts as relaxed."""
MOST_STEPS = 200

_FAILURES = (ValueError, ArithmeticError, IndexError)
"""What is raised for arrangements that a potential, or ASE's search, was not made for."""


@dataclass(frozen=True)
class Forces:
    """What a potential says of one crystal of N atoms."""

    energy: float  # eV
    forces: np.ndarray  # (N, 3) eV/Å
    stress: np.ndarray  # (6,) eV/Å³, in Voigt's order

    @property
    def finite(self) -> bool:
        """Whether all of them are numbers."""
        return bool(np.isfinite([self.energy, *self.forces.flat, *self.stress]).all())


@dataclass(frozen=True)
class Potential:
    """An interatomic potential by name.

    evaluate: of each crystal the forces, None where it cannot treat it.
    """

    name: str
    evaluate: Callable[[Sequence[Atoms]], list[Forces | None]]


@dataclass(frozen=True)
class Relaxation:
    """A relaxed crystal beside what it was."""

    structure: Structure
    energy_before: float  # eV an atom
    energy: float  # eV an atom
    rmsd: float | None  # between the two, in units of (V/N)^(1/3); None where they do not match
    steps: int
    converged: bool


def installed() -> bool:
    """Return whether the package set `relax` is there."""
    return importlib.util.find_spec("chgnet") is not None


def load_chgnet(device: str) -> Potential:
    """CHGNet on ``device``, "auto" for the best there is."""
    from ase.stress import full_3x3_to_voigt_6_stress
    from ase.units import GPa
    from chgnet.model.model import CHGNet
    from pymatgen.io.ase import AseAtomsAdaptor

    with contextlib.redirect_stdout(io.StringIO()):  # it tells where it runs
        model = CHGNet.load(use_device=None if device == "auto" else device, verbose=False)
    model.graph_converter.set_isolated_atom_response("ignore")

    def graph(atoms: Atoms) -> Any:
        if max(atoms.numbers) > model.composition_model.max_num_elements:
            return None
        try:
            return model.graph_converter(AseAtomsAdaptor.get_structure(atoms))
        except _FAILURES:
            return None

    def evaluate(crystals: Sequence[Atoms]) -> list[Forces | None]:
        graphs = [graph(one) for one in crystals]
        known = [place for place, one in enumerate(graphs) if one is not None]
        found: list[Forces | None] = [None] * len(crystals)
        if not known:
            return found
        with torch.enable_grad():  # forces are gradients
            predicted: Any = model.predict_graph(
                [graphs[place] for place in known], task="efs", batch_size=len(known)
            )
        # The model returns a single prediction without its list.
        predictions = [predicted] if len(known) == 1 else predicted
        for place, own in zip(known, predictions, strict=True):
            found[place] = Forces(
                float(own["e"]) * len(crystals[place]),  # the model's is that of an atom
                np.asarray(own["f"], dtype=float),
                full_3x3_to_voigt_6_stress(np.asarray(own["s"], dtype=float) * GPa),
            )
        return found

    return Potential(f"chgnet {version('chgnet')}", evaluate)


class _Descent:
    """The way of one crystal; the order of its atoms is kept."""

    def __init__(self, structure: Structure) -> None:
        from ase import Atoms
        from ase.filters import FrechetCellFilter
        from ase.optimize import FIRE

        self._given = structure
        self.atoms = Atoms(
            numbers=structure.atomic_numbers,
            scaled_positions=structure.frac_coords,
            cell=structure.lattice.matrix,
            pbc=True,
        )
        self._moved = FrechetCellFilter(self.atoms)
        self._search = FIRE(self._moved, logfile=None)
        self._energies: list[float] = []
        self._converged = False
        self.over = self._failed = False

    def take(self, found: Forces | None) -> None:
        """One step along the forces where the crystal is, or the end of the way."""
        self._failed = found is None or not found.finite
        if found is not None and not self._failed:
            try:
                self._step(found)
            except _FAILURES:
                self._failed = True
        self.over = self.over or self._failed

    def _step(self, found: Forces) -> None:
        from ase.calculators.singlepoint import SinglePointCalculator

        self._energies.append(found.energy / len(self.atoms))
        self.atoms.calc = SinglePointCalculator(
            self.atoms, energy=found.energy, forces=found.forces, stress=found.stress
        )
        largest = np.linalg.norm(self._moved.get_forces(), axis=1).max()
        self._converged = bool(largest < LARGEST_FORCE)
        self.over = self._converged or len(self._energies) > MOST_STEPS
        if not self.over:
            self._search.step()
            moved = np.concatenate([self.atoms.cell.array, self.atoms.positions])
            self._failed = not np.isfinite(moved).all()

    def result(self) -> Relaxation | None:
        """What it came to; None for a crystal that the potential could not treat."""
        if self._failed:
            return None
        lattice, frac_coords = Lattice(self.atoms.cell.array), self.atoms.get_scaled_positions()
        species: list[Any] = list(self._given.atomic_numbers)
        relaxed = Structure(lattice, species, frac_coords)
        return Relaxation(
            relaxed,
            self._energies[0],
            self._energies[-1],
            match(self._given, relaxed),
            len(self._energies) - 1,
            self._converged,
        )


def relax(
    structures: Sequence[Structure],
    potential: Potential,
    on_step: Callable[[int], None] | None = None,
) -> list[Relaxation | None]:
    """``structures`` with cell and sites relaxed together by FIRE, as one batch.

    None for one that the potential cannot treat: unknown elements, numbers that are not finite.

    Args:
        structures: ordered crystals whose atoms are apart.
        potential: what gives the forces.
        on_step: called after each step with how many crystals are done; may raise to stop.
    """
    ways = [_Descent(structure) for structure in structures]
    while left := [way for way in ways if not way.over]:
        for way, found in zip(left, potential.evaluate([one.atoms for one in left]), strict=True):
            way.take(found)
        if on_step:
            on_step(sum(way.over for way in ways))
    return [way.result() for way in ways]
