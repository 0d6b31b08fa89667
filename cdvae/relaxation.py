"""Relaxation: a crystal moved to the nearest minimum of an interatomic potential.

The potential is any calculator of ASE; the one of the package set `relax` is CHGNet (Deng et al.,
Nature Machine Intelligence 2023), whose weights come with its package. ASE relaxes one crystal at a
time. Both packages are imported when they are needed: a worker runs without them.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from cdvae.metrics.matching import match

LARGEST_FORCE = 0.1
"""eV/Å; below it, also for the forces on the cell, a crystal counts as relaxed."""
MOST_STEPS = 200

_FAILURES = (ValueError, ArithmeticError, IndexError)
"""What a potential raises for elements or arrangements that it was not made for."""


@dataclass(frozen=True)
class Potential:
    """An interatomic potential by name."""

    name: str
    calculator: Any  # of ASE, with energy, forces and stress


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
    """Whether the package set `relax` is there."""
    return importlib.util.find_spec("chgnet") is not None


def load_chgnet(device: str) -> Potential:
    """CHGNet on ``device``, "auto" for the best there is."""
    from chgnet.model.dynamics import CHGNetCalculator

    with contextlib.redirect_stdout(io.StringIO()):  # it tells where it runs
        calculator = CHGNetCalculator(
            use_device=None if device == "auto" else device, on_isolated_atoms="ignore"
        )
    return Potential(f"chgnet {version('chgnet')}", calculator)


def relax(
    structure: Structure, potential: Potential, on_step: Callable[[], None] | None = None
) -> Relaxation | None:
    """``structure`` with its cell and sites relaxed together by FIRE; the order of atoms is kept.

    None where the potential cannot treat it: unknown elements, energies that are not finite.

    Args:
        structure: an ordered crystal whose atoms are apart.
        potential: what gives the forces.
        on_step: called after each step; may raise to stop.
    """
    from ase import Atoms
    from ase.filters import FrechetCellFilter
    from ase.optimize import FIRE

    atoms = Atoms(
        numbers=structure.atomic_numbers,
        scaled_positions=structure.frac_coords,
        cell=structure.lattice.matrix,
        pbc=True,
        calculator=potential.calculator,
    )
    try:
        with torch.enable_grad():  # forces are gradients
            before = float(atoms.get_potential_energy()) / len(atoms)
            search = FIRE(FrechetCellFilter(atoms), logfile=None)
            converged = False
            for reached in search.irun(fmax=LARGEST_FORCE, steps=MOST_STEPS):
                converged = bool(reached)
                if on_step:
                    on_step()
            after = float(atoms.get_potential_energy()) / len(atoms)
        relaxed = Structure(
            Lattice(atoms.cell.array), structure.atomic_numbers, atoms.get_scaled_positions()
        )
        if not (math.isfinite(before) and math.isfinite(after)):
            return None
        return Relaxation(
            relaxed, before, after, match(structure, relaxed), search.nsteps, converged
        )
    except _FAILURES:
        return None
