"""Relaxation against potentials whose answers are known, and the real one where it is installed."""

from collections.abc import Sequence

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from cdvae.errors import Cancelled
from cdvae.stability.relaxation import (
    MOST_STEPS,
    Forces,
    Potential,
    Relaxation,
    installed,
    load_chgnet,
    relax,
)

FCC = [[0.02, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]


def of(calculator: Calculator) -> Potential:
    """The potential of a calculator of ASE."""

    def evaluate(crystals: Sequence[Atoms]) -> list[Forces | None]:
        found: list[Forces | None] = []
        for atoms in crystals:
            one = atoms.copy()
            one.calc = calculator
            found.append(Forces(one.get_potential_energy(), one.get_forces(), one.get_stress()))
        return found

    return Potential("of ase", evaluate)


def relaxed(given: Structure, potential: Potential) -> Relaxation | None:
    (found,) = relax([given], potential)
    return found


def copper(a: float) -> Structure:
    return Structure(Lattice.cubic(a), ["Cu"] * 4, FCC)


def test_copper_finds_the_cell_of_its_potential() -> None:
    """EMT was made for copper: 3.59 Å, where its energy is zero."""
    steps: list[int] = []
    (found,) = relax([copper(3.75)], of(EMT()), steps.append)
    assert found is not None
    assert found.converged
    assert 0 < found.steps < MOST_STEPS
    assert steps == [0] * found.steps + [1]
    assert found.structure.lattice.abc == pytest.approx([3.59] * 3, abs=0.02)
    assert found.energy == pytest.approx(0, abs=0.01)
    assert found.energy_before > 0.05
    assert found.rmsd == pytest.approx(0, abs=0.02)


def test_the_order_of_the_atoms_is_kept() -> None:
    numbers = [29, 79, 29, 79]
    given = Structure(Lattice.cubic(3.8), numbers, FCC)
    found = relaxed(given, of(EMT()))
    assert found is not None
    assert list(found.structure.atomic_numbers) == numbers
    away = np.abs(found.structure.frac_coords - given.frac_coords)
    assert np.minimum(away, 1 - away).max() < 0.1


def test_what_a_potential_cannot_treat_is_left_alone() -> None:
    class Overflows(LennardJones):
        def calculate(self, *words: object, **more: object) -> None:
            super().calculate(*words, **more)
            self.results["energy"] = float("nan")

    assert relaxed(copper(3.6), of(Overflows())) is None
    assert (
        relaxed(copper(3.6), Potential("refuses", lambda crystals: [None] * len(crystals))) is None
    )


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_a_search_that_explodes_ends_for_its_crystal_alone() -> None:
    def evaluate(crystals: Sequence[Atoms]) -> list[Forces | None]:
        calm = of(EMT()).evaluate
        huge = Forces(0.0, np.full((4, 3), 1e200), np.full(6, 1e200))
        return [huge if len(one) == 4 else calm([one])[0] for one in crystals]

    single = Structure(copper(3.6).lattice, ["Cu"], [[0, 0, 0]])
    exploded, calm = relax([copper(3.6), single], Potential("explodes", evaluate))
    assert exploded is None
    assert calm is not None


def test_each_crystal_of_a_batch_goes_its_own_way() -> None:
    """As far as alone, whatever is beside it; one that cannot be treated holds up nobody."""
    emt = of(EMT()).evaluate
    unknown = Structure(Lattice.cubic(3.0), ["Xe"], [[0, 0, 0]])

    def evaluate(crystals: Sequence[Atoms]) -> list[Forces | None]:
        return [None if "Xe" in one.symbols else emt([one])[0] for one in crystals]

    given = [copper(3.75), unknown, copper(3.5)]
    done: list[int] = []
    first, refused, last = relax(given, Potential("emt", evaluate), done.append)
    assert refused is None
    assert done[0] == 1
    assert done == sorted(done)
    assert done[-1] == 3
    for crystal, found in ((given[0], first), (given[2], last)):
        alone = relaxed(crystal, of(EMT()))
        assert found is not None
        assert alone is not None
        assert (found.energy, found.steps) == (alone.energy, alone.steps)
        assert np.array_equal(found.structure.frac_coords, alone.structure.frac_coords)


def test_a_relaxation_can_be_stopped() -> None:
    def stop(_: int) -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        relax([copper(3.75)], of(EMT()), stop)


@pytest.mark.slow
@pytest.mark.skipif(not installed(), reason="the package set `relax` is not installed")
@pytest.mark.filterwarnings("ignore")  # of chgnet and what it loads
def test_the_real_potential_keeps_a_real_crystal() -> None:
    """Cubic SrTiO3, 3.905 Å in experiment, 3.94 Å in the PBE that CHGNet was trained on."""
    sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    given = Structure(Lattice.cubic(4.05), ["Sr", "Ti", "O", "O", "O"], sites)
    potential = load_chgnet("cpu")
    assert potential.name.startswith("chgnet 0.")
    unknown = Structure(Lattice.cubic(4.0), ["Og", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    found, again, nothing = relax([given, given, unknown], potential)
    assert nothing is None
    assert found is not None
    assert again is not None
    assert found.energy == pytest.approx(again.energy, abs=1e-4)
    assert found.converged
    assert found.structure.lattice.a == pytest.approx(3.94, abs=0.04)
    assert found.energy < found.energy_before
    assert found.energy == pytest.approx(-8.0, abs=0.5)
