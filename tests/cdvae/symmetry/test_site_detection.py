"""Which Wyckoff positions atoms occupy, and the cell and axes to build them in again."""

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from cdvae.data.structures import from_structure
from cdvae.geometry.crystal import CrystalBatch
from cdvae.geometry.lattice import to_log_metric
from cdvae.symmetry.crystal_sites import find_all_sites
from cdvae.symmetry.group_cells import Group
from cdvae.symmetry.placement import WyckoffPlan
from cdvae.symmetry.site_detection import OccupiedSites, find_sites
from cdvae.symmetry.site_solver import NUM_POSITIONS, position_number

ROCK_SALT = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
)
PEROVSKITE = Structure.from_spacegroup(
    "Pm-3m",
    Lattice.cubic(3.9),
    ["Sr", "Ti", "O"],
    [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]],
)
# GdFeO3: an orthorhombic cell whose axes could have any order
ORTHORHOMBIC = Structure.from_spacegroup(
    "Pnma",
    Lattice.orthorhombic(5.44, 7.64, 5.38),
    ["Ca", "Ti", "O", "O"],
    [[0.036, 0.25, -0.007], [0, 0, 0.5], [0.484, 0.25, 0.071], [0.289, 0.037, 0.711]],
)


def sites_of(structure: Structure) -> OccupiedSites:
    lattice = structure.lattice.matrix
    numbers = np.array(structure.atomic_numbers)
    found = find_sites(lattice, structure.frac_coords, numbers, 0.01)
    assert found is not None
    return found


def axes_swapped(structure: Structure) -> Structure:
    """The same crystal, described in a cell with another order of the axes."""
    order = [1, 2, 0]
    return Structure(
        structure.lattice.matrix[order], structure.species, structure.frac_coords[:, order]
    )


def test_rock_salt_fills_two_positions_of_one_atom() -> None:
    found = sites_of(ROCK_SALT.get_primitive_structure())
    positions = Group.of(225).positions
    assert found.spacegroup == 225
    assert [positions[i].multiplicity for i in found.positions] == [1, 1]
    assert found.positions[0] != found.positions[1]


def test_perovskite_puts_oxygen_on_a_position_of_three() -> None:
    found = sites_of(PEROVSKITE)
    sizes = [Group.of(221).positions[i].multiplicity for i in found.positions]
    assert sizes == [1, 1, 3, 3, 3]
    assert len(set(found.positions.tolist())) == 3


def test_a_cell_that_is_not_primitive_has_no_sites() -> None:
    numbers = np.array(ROCK_SALT.atomic_numbers)
    assert find_sites(ROCK_SALT.lattice.matrix, ROCK_SALT.frac_coords, numbers, 0.01) is None


@pytest.mark.parametrize("structure", [ORTHORHOMBIC, axes_swapped(ORTHORHOMBIC)])
def test_the_cell_in_the_axes_of_the_group_does_not_depend_on_the_given_axes(
    structure: Structure,
) -> None:
    found = sites_of(structure)
    assert found.spacegroup == 62
    cell = found.basis.T @ structure.lattice.matrix
    np.testing.assert_allclose(np.linalg.norm(cell, axis=1), [5.44, 7.64, 5.38], atol=1e-6)


@pytest.mark.parametrize(
    "structure", [ORTHORHOMBIC, axes_swapped(ORTHORHOMBIC), ROCK_SALT.get_primitive_structure()]
)
def test_the_expected_cell_decides_the_order_of_the_axes(structure: Structure) -> None:
    found = sites_of(structure)
    group = Group.of(found.spacegroup)
    lattice = structure.lattice.matrix
    cell = torch.from_numpy(found.basis.T @ lattice)[None]
    expected = to_log_metric(cell, torch.tensor([len(structure)]))[0].numpy()
    metric, basis = group.fit(lattice, expected)
    np.testing.assert_allclose(metric, lattice @ lattice.T, atol=1e-6)

    elements = sorted(set(structure.atomic_numbers))
    orbits = {}
    for element, position in zip(structure.atomic_numbers, found.positions.tolist(), strict=True):
        orbits.setdefault((elements.index(element), position), 0)
    counts = tuple(structure.atomic_numbers.count(z) for z in elements)
    plan = WyckoffPlan(group, basis, counts, lattice, tuple(orbits))
    placed = plan.draw_placement(np.random.default_rng(0))
    again = Structure(lattice, [elements[i] for i in placed.element], placed.frac_coords)
    rebuilt = sites_of(again)
    assert rebuilt.spacegroup == found.spacegroup
    np.testing.assert_allclose(
        (rebuilt.basis.T @ lattice) @ (rebuilt.basis.T @ lattice).T,
        (found.basis.T @ lattice) @ (found.basis.T @ lattice).T,
        atol=1e-6,
    )


def test_positions_of_all_groups_have_numbers_of_their_own() -> None:
    numbers = [
        position_number(number, index)
        for number in range(1, 231)
        for index in range(len(Group.of(number).positions))
    ]
    assert numbers == list(range(1, NUM_POSITIONS + 1))


def test_a_batch_has_the_sites_of_its_crystals() -> None:
    crystals = CrystalBatch.cat([from_structure(PEROVSKITE), from_structure(ORTHORHOMBIC)])
    sites = find_all_sites(crystals)
    assert sites.spacegroup.tolist() == [221, 62]
    first = sites.positions[:5] - position_number(221, 0)
    assert sorted(Group.of(221).positions[int(i)].multiplicity for i in first) == [1, 1, 3, 3, 3]
