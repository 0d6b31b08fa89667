from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core.composition import Composition
from pymatgen.core.lattice import Lattice
from pymatgen.core.periodic_table import Element
from pymatgen.core.structure import Structure
from smact.screening import smact_validity

from cdvae.data.dataset import CrystalDataset
from cdvae.data.structures import to_structures
from cdvae.metrics.validity import (
    composition_valid,
    has_cell,
    separated,
    shortest_contact,
    shortest_pair,
    species_counts,
    structure_valid,
)


def two_atoms(distance: float, lattice: Lattice) -> Structure:
    return Structure(lattice, ["H", "H"], [[0, 0, 0], [0, 0, distance]], coords_are_cartesian=True)


@pytest.mark.parametrize(("distance", "valid"), [(0.499, False), (0.501, True), (7.4, False)])
def test_pairs_closer_than_half_an_angstrom_are_invalid(distance: float, valid: bool) -> None:
    """Atoms 7.4 Å apart in a cell of 7.8 Å are 0.4 Å apart across the boundary."""
    assert structure_valid(two_atoms(distance, Lattice.cubic(7.8))) is valid


def test_one_atom_is_valid_if_its_cell_has_volume() -> None:
    def single(edge: float) -> Structure:
        return Structure(Lattice.cubic(edge), ["Cu"], [[0, 0, 0]])

    assert structure_valid(single(2.5))
    assert structure_valid(single(0.47))  # 0.104 Å³: images of an atom do not count
    assert not structure_valid(single(0.46))  # 0.097 Å³
    assert shortest_pair(single(2.5)) == np.inf
    assert shortest_contact(single(2.5)) == pytest.approx(2.5)


def test_needle_cells_are_valid_but_not_separated() -> None:
    needle = Structure(Lattice.orthorhombic(0.3, 5, 5), ["H"], [[0, 0, 0]])
    assert structure_valid(needle)
    assert not separated(needle)


@pytest.mark.parametrize(
    "structure",
    [
        Structure(Lattice.cubic(4), ["H"], [[np.nan, 0, 0]]),
        Structure(Lattice(np.full((3, 3), np.nan)), ["H"], [[0, 0, 0]]),
        Structure(Lattice(np.diag([4, 4, np.inf])), ["H"], [[0, 0, 0]]),
        Structure(Lattice(np.zeros((3, 3))), ["H"], [[0, 0, 0]]),
        Structure(Lattice([[4, 0, 0], [0, 4, 0], [4, 4, 0]]), ["H"], [[0, 0, 0]]),
        Structure(Lattice.cubic(4), [], []),
    ],
)
def test_broken_structures_are_invalid(structure: Structure) -> None:
    assert not has_cell(structure)
    assert not structure_valid(structure)
    assert not separated(structure)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.floats(2.0, 9.0), min_size=3, max_size=3),
    st.lists(st.floats(60.0, 115.0), min_size=3, max_size=3),
    st.integers(-4, 4),
    st.lists(st.floats(0.0, 0.99), min_size=3, max_size=3),
)
def test_distances_in_skewed_cells_agree_with_many_images(
    lengths, angles, shear, frac_coords
) -> None:
    matrix = Lattice.from_parameters(*lengths, *angles).matrix.copy()
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 5:
        return
    matrix[2] += shear * matrix[0]
    structure = Structure(Lattice(matrix), ["Li", "F"], [[0, 0, 0], frac_coords])
    steps = np.stack(np.meshgrid(*[np.arange(-12, 13)] * 3), -1).reshape(-1, 3)
    pair = np.linalg.norm((steps + frac_coords) @ matrix, axis=1).min()
    images = np.linalg.norm(steps[np.any(steps, axis=1)] @ matrix, axis=1).min()
    assert shortest_pair(structure) == pytest.approx(pair, abs=1e-6)
    assert shortest_contact(structure) == pytest.approx(min(pair, images), abs=1e-6)


def counts(formula: str) -> dict[int, int]:
    return {element.Z: int(n) for element, n in Composition(formula).items()}


@pytest.mark.parametrize(
    ("formula", "valid"),
    [
        ("SrTiO3", True),
        ("Na2Cl2", True),
        ("NaCl2", False),
        ("C7", True),  # one element
        ("Ar3", True),
        ("Ni3Al", True),  # metals only
        ("HeO", False),  # no oxidation state
        ("Li2F5", False),
        ("ClF", True),
        ("Pm2O3", True),  # Pm has no electronegativity: opposite signs pass
        ("PmLuAt6", False),  # equal signs fail if such a pair is the first one in order of Z
        ("LuAt3", True),
        ("PmO7", False),
        ("RfO2", False),  # unknown to SMACT
    ],
)
def test_compositions(formula: str, valid: bool) -> None:
    assert composition_valid(counts(formula)) is valid


def test_no_atoms_make_no_composition() -> None:
    assert not composition_valid({})
    assert not composition_valid({8: 0})
    assert not composition_valid({8: -1, 12: 1})


def test_only_ratios_count() -> None:
    assert composition_valid({12: 3, 8: 3, 6: 0})
    assert not composition_valid({11: 10, 17: 20})


formulas = st.dictionaries(
    st.sampled_from([z for z in range(1, 95) if z not in (61, 86)]),
    st.integers(1, 6),
    min_size=1,
    max_size=4,
)


@settings(deadline=None, max_examples=150)
@given(formulas)
def test_agrees_with_smact_where_all_electronegativities_are_known(formula) -> None:
    named = Composition({Element.from_Z(z).symbol: n for z, n in formula.items()})
    expected = smact_validity(named, oxidation_states_set="smact14")
    assert composition_valid(formula) is expected


def test_many_elements_do_not_explode() -> None:
    both_signs = [1, 6, 7, 14, 15, 16, 22, 23, 24, 25, 26, 27, 28, 33, 41, 42, 43, 44, 45, 53]
    assert composition_valid(dict.fromkeys(both_signs, 1)) is False
    assert composition_valid({z: 1 + z % 3 for z in both_signs[:9]}) in (True, False)


@pytest.mark.data
@pytest.mark.parametrize(
    ("split", "percent"), [("perov_5/test", 98.5997), ("carbon_24/test", 100.0)]
)
def test_published_validity_of_the_test_splits(
    real_data: Callable[[str], CrystalDataset], split: str, percent: float
) -> None:
    structures = to_structures(real_data(split).crystals)
    valid = [composition_valid(species_counts(structure)) for structure in structures]
    assert 100 * np.mean(valid) == pytest.approx(percent, abs=5e-5)
    assert all(structure_valid(structure) for structure in structures)


def test_counts_of_a_structure(perovskite: Structure) -> None:
    assert species_counts(perovskite) == Counter({38: 1, 22: 1, 8: 3})
