"""The real potentials against their own packages, where they are installed."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal
from ase.units import GPa
from pymatgen.core.structure import Structure
from pymatgen.io.ase import AseAtomsAdaptor

from cdvae.stability.chgnet_potential import load_chgnet
from cdvae.stability.graph_potential import GraphPotential
from cdvae.stability.potential import Evaluation, Untreatable, label

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of the packages and what they load
]
SEVENNET = pytest.mark.skipif(
    importlib.util.find_spec("sevenn") is None, reason="SevenNet is not installed"
)


def structures() -> list[Atoms]:
    """Crystals of several kinds, some off their minimum; a triclinic cell; one atom per cell."""
    rutile = crystal(["Ti", "O"], [(0, 0, 0), (0.305, 0.305, 0)], spacegroup=136,
                     cellpar=[4.6, 4.6, 2.96, 90, 90, 90])  # fmt: skip
    rattled = rutile.copy()
    rattled.rattle(0.15, seed=1)
    sheared = bulk("NaCl", "rocksalt", a=5.7, cubic=True)
    sheared.set_cell(sheared.cell.array @ [[1, 0.1, 0], [0, 1, 0.2], [0, 0, 1.1]], scale_atoms=True)
    dense = bulk("C", "diamond", a=3.3)
    sparse = bulk("Cs", "bcc", a=5.5)  # no two atoms within the reach of angles
    return [rutile, rattled, sheared, bulk("Cu", "fcc", a=3.6), dense, sparse]


def refused() -> list[tuple[Atoms, str]]:
    """Structures that no potential can treat, and a word of the reason."""
    lonely = Atoms("H", cell=[20, 20, 20], pbc=True)
    overlapping = Atoms("Cu2", [[0, 0, 0], [0, 0, 0.2]], cell=[4, 4, 4], pbc=True)
    crushed = bulk("Cu", "fcc", a=1.5)
    large = bulk("Cu", "fcc", a=3.6, cubic=True).repeat(12)
    lost = bulk("Cu", "fcc", a=3.6)
    lost.positions[0, 0] = np.nan
    unknown = bulk("Cu", "fcc", a=3.6)
    unknown.numbers[0] = 118
    return [
        (lonely, "neighbor"),
        (overlapping, "apart"),
        (crushed, "per atom"),
        (large, "too many"),
        (lost, "finite"),
        (unknown, "Og"),
        (Atoms(cell=[3, 3, 3], pbc=True), "no atoms"),
    ]


@pytest.fixture(scope="module")
def chgnet() -> GraphPotential:
    return load_chgnet()


@pytest.fixture(scope="module")
def sevennet() -> GraphPotential:
    from cdvae.stability.sevennet_potential import load_sevennet

    return load_sevennet()


def evaluated(potential: GraphPotential, given: list[Atoms]) -> list[Evaluation]:
    found = potential.evaluate(given)
    assert all(isinstance(one, Evaluation) for one in found)
    return found  # type: ignore[return-value]


def test_chgnet_agrees_with_its_package(chgnet: GraphPotential) -> None:
    from chgnet.model.model import CHGNet

    model: Any = CHGNet.load(use_device="cpu", verbose=False)
    given = structures()
    for atoms, found in zip(given, evaluated(chgnet, given), strict=True):
        structure: Any = AseAtomsAdaptor.get_structure(atoms)
        assert isinstance(structure, Structure)
        expected = model.predict_structure(structure, task="efs")
        assert found.energy / len(atoms) == pytest.approx(float(expected["e"]), abs=1e-5)
        assert np.allclose(found.forces, expected["f"], atol=5e-4)
        assert np.allclose(found.stress, expected["s"] * GPa, atol=2e-5)


@SEVENNET
def test_sevennet_agrees_with_its_package(sevennet: GraphPotential) -> None:
    import sevenn
    from sevenn.calculator import SevenNetCalculator

    from cdvae.stability.sevennet_potential import WEIGHTS

    calculator = SevenNetCalculator(str(Path(sevenn.__file__).parent / WEIGHTS), device="cpu")
    given = structures()
    for atoms, found in zip(given, evaluated(sevennet, given), strict=True):
        reference = atoms.copy()
        reference.calc = calculator
        assert found.energy == pytest.approx(reference.get_potential_energy(), abs=1e-4)
        assert np.allclose(found.forces, reference.get_forces(), atol=1e-4)
        assert np.allclose(found.stress, reference.get_stress(voigt=False), atol=1e-5)


def test_the_bits_of_a_structure_do_not_depend_on_its_batch(chgnet: GraphPotential) -> None:
    given = structures()
    together = evaluated(chgnet, given)
    for atoms, expected in zip(given, together, strict=True):
        (single,) = evaluated(chgnet, [atoms])
        assert single.energy == expected.energy
        assert np.array_equal(single.forces, expected.forces)
        assert np.array_equal(single.stress, expected.stress)
    assert chgnet.energies(given) == [one.energy for one in together]


def test_what_cannot_be_treated_gets_a_reason_and_harms_nobody(chgnet: GraphPotential) -> None:
    cases = refused()
    copper = bulk("Cu", "fcc", a=3.6)
    *answers, last = chgnet.evaluate([*(atoms for atoms, _ in cases), copper])
    for answer, (_, word) in zip(answers, cases, strict=True):
        assert isinstance(answer, Untreatable)
        assert word in answer.reason
    assert isinstance(last, Evaluation)
    assert last.energy == evaluated(chgnet, [copper])[0].energy


def test_the_version_names_package_and_weights(chgnet: GraphPotential) -> None:
    assert label(chgnet) == "CHGNet 0.4.2 (weights 0.3.0)"
    assert chgnet.elements == frozenset(range(1, 95))


@SEVENNET
def test_sevennet_knows_its_elements(sevennet: GraphPotential) -> None:
    assert label(sevennet) == "SevenNet 0.13.0 (weights l3i5)"
    assert len(sevennet.elements) == 89
    (answer,) = sevennet.evaluate([bulk("Po", "sc", a=3.3)])
    assert isinstance(answer, Untreatable)
