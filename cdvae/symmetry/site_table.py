"""Print the table for `cdvae.symmetry.site_solver`: ``python -m cdvae.symmetry.site_table``.

``groups`` holds for each space group the Wyckoff positions of its primitive cell, the number of
primitive cells in the conventional one, and the indices of its two settings in ``averages``.
``averages`` holds the distinct averages of a metric over the rotations of a group.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

from cdvae.symmetry.operations import Operations, centring, conventional, primitive
from cdvae.symmetry.site_assignment import multiplicities
from cdvae.symmetry.site_solver import COMMON_ORDER, COMPONENTS
from cdvae.symmetry.wyckoff import positions


def sites_of(number: int) -> dict[str, Any]:
    """Return ``positions``, ``fixed``: {multiplicity: positions} and ``free``: [multiplicity, …].

    A fixed position can be filled once; the other positions can be filled any number of times.
    """
    found = positions(primitive(number))
    fixed, free = multiplicities(found)
    return {
        "positions": len(found),
        "fixed": {str(size): fixed[size] for size in sorted(fixed)},
        "free": list(free),
    }


def average_of(ops: Operations) -> list[list[int]]:
    """Return the average of Rᵀ M R over the rotations as a (6, 6) matrix, times COMMON_ORDER.

    Rows and columns are the components of a symmetric matrix in the order of COMPONENTS.
    """
    rows = np.zeros((6, 6))
    for column, (j, k) in enumerate(COMPONENTS):
        metric = np.zeros((3, 3))
        metric[j, k] = metric[k, j] = 1.0
        mean = np.einsum("gji,jk,gkl->il", ops.rotation, metric, ops.rotation) / len(ops)
        rows[:, column] = [mean[i, m] for i, m in COMPONENTS]
    whole = np.rint(rows * COMMON_ORDER)
    assert np.allclose(whole, rows * COMMON_ORDER)
    return whole.astype(int).tolist()


def table() -> str:
    """Return the text of ``space_groups.json``."""
    averages: list[list[list[int]]] = []

    def place(ops: Operations) -> int:
        average = average_of(ops)
        if average not in averages:
            averages.append(average)
        return averages.index(average)

    groups = []
    for number in range(1, 231):
        entry = {
            **sites_of(number),
            "centring": centring(number),
            "conventional": place(conventional(number)),
            "primitive": place(primitive(number)),
        }
        groups.append(f'  "{number}": {json.dumps(entry)}')
    listed = ",\n".join(f"  {json.dumps(average)}" for average in averages)
    return (
        '{\n "groups": {\n' + ",\n".join(groups) + '\n },\n "averages": [\n' + listed + "\n ]\n}\n"
    )


if __name__ == "__main__":
    sys.stdout.write(table())
