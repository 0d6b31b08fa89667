"""FIRE with cell against ASE's, and its generalized forces against finite differences."""

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE

from cdvae.stability.ase_potential import AsePotential
from cdvae.stability.fire import CellFire
from cdvae.stability.potential import Evaluation


def strained() -> Atoms:
    """Cu3Au in a sheared cell, atoms off their sites."""
    atoms = bulk("Cu", "fcc", a=3.75, cubic=True)
    atoms.numbers[0] = 79
    shear = np.array([[1.02, 0.04, 0], [0, 0.98, 0.01], [0.03, 0, 1]])
    atoms.set_cell(atoms.cell.array @ shear, scale_atoms=True)
    atoms.rattle(0.08, seed=3)
    return atoms


def evaluated(search: CellFire, numbers: np.ndarray) -> Evaluation:
    atoms = Atoms(numbers=numbers, cell=search.cell, positions=search.positions, pbc=True)
    (found,) = AsePotential(EMT()).evaluate([atoms])
    assert isinstance(found, Evaluation)
    return found


def test_the_steps_are_those_of_ase() -> None:
    atoms = strained()
    search = CellFire(atoms.cell.array, atoms.positions)
    reference = atoms.copy()
    reference.calc = EMT()
    optimizer = FIRE(FrechetCellFilter(reference), logfile=None)
    for _ in range(60):
        forces = search.forces(evaluated(search, atoms.numbers))
        assert np.allclose(forces, FrechetCellFilter.get_forces(optimizer.atoms), atol=1e-7)
        search.step(forces)
        optimizer.step()
        assert np.allclose(search.cell, reference.cell.array, atol=1e-7)
        assert np.allclose(search.positions, reference.positions, atol=1e-7)


def test_forces_are_the_gradient_of_the_energy() -> None:
    atoms = strained()
    search = CellFire(atoms.cell.array, atoms.positions)
    for _ in range(5):  # away from the undeformed cell, where the derivative of exp is not trivial
        search.step(search.forces(evaluated(search, atoms.numbers)))
    forces = search.forces(evaluated(search, atoms.numbers))
    coordinates, small = search._coordinates.copy(), 1e-5
    for row, column in ((0, 0), (2, 1), (4, 0), (4, 1), (5, 0), (6, 2)):
        energies = []
        for sign in (1, -1):
            moved = coordinates.copy()
            moved[row, column] += sign * small
            search._coordinates = moved
            search._apply()
            energies.append(evaluated(search, atoms.numbers).energy)
        numeric = -(energies[0] - energies[1]) / (2 * small)
        assert np.isclose(forces[row, column], numeric, atol=1e-5)
