"""Relaxation with potentials whose answers are known."""

import warnings
from collections.abc import Sequence

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.constraints import FixSymmetry
from ase.stress import full_3x3_to_voigt_6_stress
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from cdvae.errors import Cancelled
from cdvae.stability.ase_potential import AsePotential
from cdvae.stability.kept_symmetry import KeptSymmetry
from cdvae.stability.potential import Answer, Evaluation, Untreatable
from cdvae.stability.relaxation import MAX_STEPS, Relaxation, relax

FCC = [[0.02, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]


class EmtExcept(AsePotential):
    """EMT, with the given answer for structures of four atoms."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(EMT())
        self._answer = answer

    def evaluate(self, structures: Sequence[Atoms]) -> list[Answer]:
        """Return EMT's answers, but the given one for four atoms."""
        found = super().evaluate(structures)
        return [
            self._answer if len(atoms) == 4 else one
            for atoms, one in zip(structures, found, strict=True)
        ]


def relaxed(given: Structure, calculator: Calculator | None = None, **options: float) -> Relaxation:
    potential = AsePotential(calculator or EMT())
    (found,) = relax([given], potential, None, **options)  # type: ignore[arg-type]
    assert isinstance(found, Relaxation)
    return found


def copper(a: float) -> Structure:
    return Structure(Lattice.cubic(a), ["Cu"] * 4, FCC)


def test_copper_finds_the_cell_of_its_potential() -> None:
    """EMT was made for copper: 3.59 Å, where its energy is zero."""
    steps: list[int] = []
    (found,) = relax([copper(3.75)], AsePotential(EMT()), steps.append)
    assert isinstance(found, Relaxation)
    assert found.converged
    assert found.largest_force < 0.05
    assert 0 < found.steps < MAX_STEPS
    assert steps == [0] * found.steps + [1]
    assert found.structure.lattice.abc == pytest.approx([3.59] * 3, abs=0.02)
    assert found.energy == pytest.approx(0, abs=0.01)
    assert found.energy_before > 0.05
    assert found.rmsd == pytest.approx(0, abs=0.02)


def test_the_order_of_the_atoms_is_kept() -> None:
    numbers = [29, 79, 29, 79]
    given = Structure(Lattice.cubic(3.8), numbers, FCC)
    found = relaxed(given)
    assert list(found.structure.atomic_numbers) == numbers
    away = np.abs(found.structure.frac_coords - given.frac_coords)
    assert np.minimum(away, 1 - away).max() < 0.1


def test_a_smaller_force_takes_more_steps_and_few_steps_do_not_converge() -> None:
    loose, tight = relaxed(copper(3.75), max_force=0.2), relaxed(copper(3.75), max_force=0.01)
    assert loose.steps < tight.steps
    assert tight.largest_force < 0.01
    cut = relaxed(copper(3.75), max_force=0.01, max_steps=3)
    assert (cut.steps, cut.converged) == (3, False)


def test_an_answer_that_is_not_finite_is_a_reason() -> None:
    class Overflows(LennardJones):
        def calculate(self, *words: object, **more: object) -> None:
            super().calculate(*words, **more)
            self.results["energy"] = float("nan")

    (found,) = relax([copper(3.6)], AsePotential(Overflows()))
    assert isinstance(found, Untreatable)
    assert "finite" in found.reason


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_a_search_that_explodes_ends_only_for_its_crystal() -> None:
    huge = Evaluation(0.0, np.full((4, 3), 1e200), np.full((3, 3), 1e200))
    single = Structure(copper(3.6).lattice, ["Cu"], [[0, 0, 0]])
    exploded, calm = relax([copper(3.6), single], EmtExcept(huge))
    assert isinstance(exploded, Untreatable)
    assert isinstance(calm, Relaxation)


def test_each_crystal_of_a_batch_relaxes_as_if_it_were_the_only_one() -> None:
    refused = Structure(Lattice.cubic(3.0), ["Xe"], [[0, 0, 0]])
    given = [copper(3.75), refused, copper(3.5)]
    done: list[int] = []
    first, nothing, last = relax(given, AsePotential(EMT()), done.append)
    assert isinstance(nothing, Untreatable)
    assert "Xe" in nothing.reason
    assert done[0] == 1
    assert done == sorted(done)
    assert done[-1] == 3
    for crystal, found in ((given[0], first), (given[2], last)):
        single = relaxed(crystal)
        assert isinstance(found, Relaxation)
        assert (found.energy, found.steps) == (single.energy, single.steps)
        assert np.array_equal(found.structure.frac_coords, single.structure.frac_coords)


def test_a_relaxation_can_be_stopped() -> None:
    def stop(_: int) -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        relax([copper(3.75)], AsePotential(EMT()), stop)


def group(structure: Structure, symprec: float) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of spglib
        return SpacegroupAnalyzer(structure, symprec=symprec).get_space_group_number()


def test_the_space_group_is_kept_on_request() -> None:
    """The gold atom in an octahedral hole of copper pushes its neighbors away."""
    sites = [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5], [0.5, 0.5, 0.5]]
    rough = Structure(Lattice.cubic(4.3), ["Cu"] * 4 + ["Au"], sites)
    rough.translate_sites([4], [0.001, -0.002, 0.0015], to_unit_cell=False)
    assert (group(rough, 0.05), group(rough, 1e-4)) == (221, 1)
    kept = relaxed(rough, symprec=0.05)
    assert kept.converged
    assert group(kept.structure, 1e-5) == 221
    assert group(relaxed(rough).structure, 1e-5) != 221


def test_symmetry_can_be_kept_in_an_oblique_cell() -> None:
    """The primitive cell of a rhombohedral crystal; ASE's symmetrized forces are the reference."""
    crystal = Structure(
        Lattice.rhombohedral(2.7, 65), ["Cu", "Au"], [[0, 0, 0], [0.47, 0.47, 0.47]]
    )
    assert group(crystal, 0.01) == 160
    kept = relaxed(crystal, symprec=0.01)
    assert group(kept.structure, 1e-5) in (160, 166, 221, 225)
    atoms = Atoms("CuAu", cell=crystal.lattice.matrix, pbc=True)
    atoms.set_scaled_positions(crystal.frac_coords)
    symmetry = KeptSymmetry(atoms.cell.array, crystal.frac_coords, atoms.numbers, 0.01)
    generator = np.random.default_rng(0)
    forces, stress = generator.normal(size=(2, 3)), generator.normal(size=(3, 3))
    stress = stress + stress.T
    found = symmetry.project(Evaluation(1.0, forces, stress), atoms.cell.array)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        reference = FixSymmetry(atoms, symprec=0.01)
    expected = forces.copy()
    reference.adjust_forces(atoms, expected)
    assert np.allclose(found.forces, expected)
    voigt = full_3x3_to_voigt_6_stress(stress)
    reference.adjust_stress(atoms, voigt)
    assert np.allclose(full_3x3_to_voigt_6_stress(found.stress), voigt)
