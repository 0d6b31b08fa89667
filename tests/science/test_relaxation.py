"""Relaxation against potentials whose answers are known, and the real one where it is installed."""

import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from cdvae.errors import Cancelled
from cdvae.relaxation import MOST_STEPS, Potential, installed, load_chgnet, relax

FCC = [[0.02, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]


def copper(a: float) -> Structure:
    return Structure(Lattice.cubic(a), ["Cu"] * 4, FCC)


def test_copper_finds_the_cell_of_its_potential() -> None:
    """EMT was made for copper: 3.59 Å, where its energy is zero."""
    steps = []
    found = relax(copper(3.75), Potential("emt", EMT()), lambda: steps.append(1))
    assert found is not None
    assert found.converged
    assert 0 < found.steps < MOST_STEPS
    assert len(steps) == found.steps + 1
    assert found.structure.lattice.abc == pytest.approx([3.59] * 3, abs=0.02)
    assert found.energy == pytest.approx(0, abs=0.01)
    assert found.energy_before > 0.05
    assert found.rmsd == pytest.approx(0, abs=0.02)


def test_the_order_of_the_atoms_is_kept() -> None:
    numbers = [29, 79, 29, 79]
    given = Structure(Lattice.cubic(3.8), numbers, FCC)
    found = relax(given, Potential("emt", EMT()))
    assert found is not None
    assert list(found.structure.atomic_numbers) == numbers
    away = np.abs(found.structure.frac_coords - given.frac_coords)
    assert np.minimum(away, 1 - away).max() < 0.1


def test_what_a_potential_cannot_treat_is_left_alone() -> None:
    class Refuses(LennardJones):
        def calculate(self, *_: object, **__: object) -> None:
            raise ValueError("an element that I do not know")

    class Overflows(LennardJones):
        def calculate(self, *words: object, **more: object) -> None:
            super().calculate(*words, **more)
            self.results["energy"] = float("nan")

    for calculator in (Refuses(), Overflows()):
        assert relax(copper(3.6), Potential("broken", calculator)) is None


def test_a_relaxation_can_be_stopped() -> None:
    def stop() -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        relax(copper(3.75), Potential("emt", EMT()), stop)


@pytest.mark.slow
@pytest.mark.skipif(not installed(), reason="the package set `relax` is not installed")
@pytest.mark.filterwarnings("ignore")  # of chgnet and what it loads
def test_the_real_potential_keeps_a_real_crystal() -> None:
    """Cubic SrTiO3, 3.905 Å in experiment, 3.94 Å in the PBE that CHGNet was trained on."""
    sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    given = Structure(Lattice.cubic(4.05), ["Sr", "Ti", "O", "O", "O"], sites)
    potential = load_chgnet("cpu")
    assert potential.name.startswith("chgnet 0.")
    found = relax(given, potential)
    assert found is not None
    assert found.converged
    assert found.structure.lattice.a == pytest.approx(3.94, abs=0.04)
    assert found.energy < found.energy_before
    assert found.energy == pytest.approx(-8.0, abs=0.5)
