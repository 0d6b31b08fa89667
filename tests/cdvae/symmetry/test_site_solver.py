"""The solver compared with numpy; it must not import numpy."""

import json
import subprocess
import sys

import numpy as np
import pytest

from cdvae.errors import InfeasibleError
from cdvae.symmetry.group_cells import Group, _group
from cdvae.symmetry.operations import centring, conventional, primitive
from cdvae.symmetry.site_solver import MAX_STRAIN, _table, cell_setting, primitive_cells
from cdvae.symmetry.site_table import average_of

GROUPS = (1, 2, 5, 14, 62, 139, 146, 166, 194, 221, 225, 227, 230)


def expected(number: int, lattice: np.ndarray) -> str | None:
    """Return the setting according to numpy, from the strains of all choices of axes."""
    for name, is_primitive in (("conventional", False), ("primitive", True)):
        if _group(number, is_primitive)._strains(lattice)[0].min() < MAX_STRAIN:
            return name
    return None


@pytest.mark.parametrize("number", GROUPS)
def test_cells_are_judged_as_numpy_judges_them(number: int) -> None:
    rng = np.random.default_rng(number)
    seen = set()
    for scale in (0.0, 0.002, 0.004, 0.006, 0.01, 0.02, 0.3):
        group = _group(number, bool(rng.integers(2)))
        metric, _ = group.fit(4 * np.eye(3) + rng.normal(size=(3, 3)))
        lattice = np.linalg.cholesky(metric)[rng.permutation(3)]
        lattice = lattice @ (np.eye(3) + scale * rng.normal(size=(3, 3)))
        seen.add(found := cell_setting(number, lattice.tolist()))
        assert found == expected(number, lattice)
    assert len(seen) > 1 or number in (1, 2)


@pytest.mark.parametrize("number", GROUPS)
def test_the_table_holds_the_averages_of_the_operations(number: int) -> None:
    entry, averages = _table()["groups"][str(number)], _table()["averages"]
    assert averages[entry["conventional"]] == average_of(conventional(number))
    assert averages[entry["primitive"]] == average_of(primitive(number))
    assert primitive_cells(number, "conventional") == centring(number)
    assert primitive_cells(number, "primitive") == 1


def test_an_almost_cubic_cell_is_refused_by_both_sides() -> None:
    cosine = np.cos(np.deg2rad(90.25))
    lattice = np.linalg.cholesky(16 * (cosine + (1 - cosine) * np.eye(3)))
    assert cell_setting(221, lattice.tolist()) is None
    with pytest.raises(InfeasibleError):
        Group.of(221, lattice)


def test_it_is_imported_without_numpy() -> None:
    code = (
        "import json, sys; import cdvae.symmetry.site_solver; "
        "print(json.dumps(sorted({'numpy', 'torch', 'spglib'} & set(sys.modules))))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert json.loads(answer.stdout) == []
