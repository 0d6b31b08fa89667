"""Space groups compared with spglib and with published tables."""

import json
import warnings
from itertools import chain
from pathlib import Path

import gemmi
import numpy as np
import pytest
import spglib

from cdvae import symmetry
from cdvae.errors import InfeasibleError
from cdvae.symmetry.group_cells import Group
from cdvae.symmetry.operations import GRID, conventional, primitive
from cdvae.symmetry.placement import WyckoffPlan
from cdvae.symmetry.site_assignment import draw_sites, has_sites
from cdvae.symmetry.site_table import sites_of
from cdvae.symmetry.wyckoff import positions

TABLE = Path(symmetry.__file__).with_name("space_groups.json")
# Numbers of Wyckoff positions in the International Tables, volume A.
POSITIONS = {1: 1, 2: 9, 12: 10, 43: 2, 62: 4, 139: 15, 160: 3, 166: 9, 194: 12, 225: 12, 227: 9}


@pytest.mark.parametrize("number", POSITIONS)
def test_there_are_as_many_wyckoff_positions_as_in_the_tables(number: int) -> None:
    found = positions(primitive(number))
    assert len(found) == POSITIONS[number]
    order = len(primitive(number))
    assert all(one.multiplicity * one.stabilizer == order for one in found)
    assert found[-1].multiplicity == order
    entry = json.loads(TABLE.read_text())["groups"][str(number)]
    assert sites_of(number) == {name: entry[name] for name in ("positions", "fixed", "free")}


@pytest.mark.parametrize("number", [5, 146, 194, 216, 229])
def test_the_primitive_cell_has_one_operation_for_each_of_the_point_group(number: int) -> None:
    ops = gemmi.find_spacegroup_by_number(number).operations()
    assert len(conventional(number)) == len(ops.sym_ops) * len(ops.cen_ops)
    assert len(primitive(number)) == len(ops.sym_ops)


def test_sites_of_a_perovskite() -> None:
    cubic = positions(primitive(221))
    assert has_sites(cubic, (1, 1, 3))
    assert not has_sites(cubic, (1, 1, 1))  # three single sites; there are only two
    assert has_sites(cubic, (1, 4))
    assert not has_sites(cubic, (1, 1, 2))
    assert not has_sites(positions(primitive(225)), (5,))
    seen = {
        tuple(sorted(chain(*draw_sites(cubic, (1, 1, 3), np.random.default_rng(seed)))))
        for seed in range(20)
    }
    assert len(seen) == 2  # the oxygens on one of the two triple sites
    with pytest.raises(ValueError, match="no sites"):
        draw_sites(cubic, (1, 1, 2), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("number", "shares"),
    [(1, (2, 3)), (14, (4, 4, 8)), (62, (4, 4, 12)), (166, (1, 2, 6)), (194, (2, 2, 4)),
     (225, (1, 1)), (227, (2, 4, 8)), (36, (2, 4)), (152, (3, 6)), (216, (1, 1))],
)  # fmt: skip
def test_atoms_on_their_sites_have_the_group(number: int, shares: tuple[int, ...]) -> None:
    rng = np.random.default_rng(number)
    group = Group.of(number)
    cell = 3 * np.eye(3) + rng.normal(scale=0.4, size=(3, 3))
    cell *= (sum(shares) * 15 / abs(np.linalg.det(cell))) ** (1 / 3)
    metric, basis = group.fit(cell)
    lattice = np.linalg.cholesky(metric)
    assert np.isclose(np.linalg.det(lattice), abs(np.linalg.det(cell)))
    plan = WyckoffPlan(group, basis, shares, lattice)
    placed = plan.draw_placement(rng)
    assert np.bincount(placed.element).tolist() == list(shares)

    # Symmetric steps keep the group, and a second projection changes nothing.
    twice = placed.projector @ placed.projector
    np.testing.assert_allclose(twice, placed.projector, atol=1e-9)
    step = placed.projector @ rng.normal(scale=0.05, size=3 * sum(shares))
    moved = placed.frac_coords + step.reshape(-1, 3)
    for rotation, translation in zip(plan.ops.rotation, plan.ops.translation, strict=True):
        image = moved @ rotation.T + translation / GRID
        away = image[:, None] - moved
        same = (np.abs(away - np.rint(away)) < 1e-6).all(-1)
        assert (same & (placed.element[:, None] == placed.element)).any(1).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        found = spglib.get_symmetry((lattice, moved, placed.element), 1e-4)
    assert found is not None
    assert len(found["rotations"]) % len(group.ops) == 0


def test_the_cell_of_a_group_changes_as_little_as_it_can() -> None:
    angles = np.array([[0, 2.0, 2.01], [2, 0, 2], [2, 2, 0]])
    metric, _ = Group.of(225).fit(angles)
    assert np.allclose(metric / metric[0, 0], [[1, 0.5, 0.5], [0.5, 1, 0.5], [0.5, 0.5, 1]])
    long = np.diag([3.0, 4.0, 3.02])  # the fourfold axis lies along b
    metric, _ = Group.of(123).fit(long)
    assert metric[0, 0] == pytest.approx(metric[2, 2])
    assert metric[1, 1] > 1.5 * metric[0, 0]


def test_a_given_cell_is_conventional_or_primitive() -> None:
    cube = np.eye(3) * 4
    fcc = np.array([[0, 2, 2], [2, 0, 2], [2, 2, 0]])
    assert len(Group.of(225, cube).ops) == 4 * 48
    assert len(Group.of(225, fcc).ops) == 48
    assert Group.of(225, cube).has_sites((4, 4))
    assert not Group.of(225, cube).has_sites((1, 1))
    with pytest.raises(InfeasibleError, match="cell of space group 225"):
        Group.of(225, np.diag([4.0, 4.0, 4.4]))
