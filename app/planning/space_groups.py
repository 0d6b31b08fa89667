"""Whether atoms find sites in a space group, and whether a cell is one of the group's.

The Wyckoff positions are in `space_groups.json`, which `python -m cdvae.symmetry.site_table`
writes; the operations come from gemmi.
"""

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import gemmi

TOLERANCE = 0.01
"""Relative change of the metric at which a cell still counts as one of the group's."""

Sizes = tuple[tuple[int, int], ...]
"""(multiplicity, number of positions) of those that hold their atoms once."""
Metric = list[list[float]]


@cache
def _table() -> dict[str, Any]:
    text = Path(__file__).with_name("space_groups.json").read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table


def has_sites(number: int, counts: Sequence[int], cells: int = 1) -> bool:
    """Whether so many atoms of each element fill whole positions of `cells` primitive cells.

    `cells` is 1 or, for the conventional cell, what `cells_in` says.
    """
    if any(count % cells for count in counts):
        return False
    fixed, free = _sizes(number)
    return _fits(tuple(sorted(count // cells for count in counts)), fixed, free)


def has_room(number: int, atoms: int, elements: int, cells: int = 1) -> bool:
    """Whether `atoms` of at least so many elements fill whole positions."""
    return atoms % cells == 0 and _most_orbits(number, atoms // cells) >= elements


def cells_in(number: int, matrix: Metric) -> int:
    """How many primitive cells the cell with these rows (Å) holds if it is the group's; else 0.

    A conventional or a primitive cell of the standard setting, the axes in any order.
    """
    rows = [[sum(a * b for a, b in zip(v, w, strict=True)) for w in matrix] for v in matrix]
    group = _group(number)
    ops = group.operations()
    to_primitive = group.centred_to_primitive()
    turned = [to_primitive.inverse() * op * to_primitive for op in ops.sym_ops]
    for symmetry, cells in ((ops.sym_ops, len(ops.cen_ops)), (turned, 1)):
        rotations = [_rotation(op) for op in symmetry]
        for order in itertools.permutations(range(3)):
            metric = [[rows[i][j] for j in order] for i in order]
            if all(_keeps(rotation, metric) for rotation in rotations):
                return cells
    return 0


def _group(number: int) -> gemmi.SpaceGroup:
    found = gemmi.find_spacegroup_by_number(number)
    assert found is not None
    return found


def _rotation(op: gemmi.Op) -> list[list[float]]:
    return [[value / op.DEN for value in row] for row in op.rot]


def _keeps(rotation: list[list[float]], metric: Metric) -> bool:
    """Whether lengths and angles are the same after the rotation (columns are coordinates)."""
    for i, j in itertools.combinations_with_replacement(range(3), 2):
        turned = sum(
            rotation[k][i] * metric[k][l] * rotation[l][j] for k in range(3) for l in range(3)
        )
        if abs(turned - metric[i][j]) > TOLERANCE * math.sqrt(metric[i][i] * metric[j][j]):
            return False
    return True


def _sizes(number: int) -> tuple[Sizes, tuple[int, ...]]:
    entry = _table()[str(number)]
    return tuple((int(size), n) for size, n in entry["fixed"].items()), tuple(entry["free"])


@lru_cache(maxsize=20_000)
def _fits(counts: tuple[int, ...], fixed: Sizes, free: tuple[int, ...]) -> bool:
    if not counts:
        return True
    return any(_fits(counts[:-1], left, free) for left in _left(counts[-1], fixed, free))


def _left(atoms: int, fixed: Sizes, free: tuple[int, ...]) -> Iterator[Sizes]:
    """What is left of the fixed positions after an element with so many atoms took its own."""
    if not fixed:
        if _sums(atoms, free):
            yield ()
        return
    (size, number), *others = fixed
    for taken in range(min(number, atoms // size) + 1):
        for left in _left(atoms - taken * size, tuple(others), free):
            yield ((size, number - taken), *left)


@lru_cache(maxsize=20_000)
def _sums(atoms: int, sizes: tuple[int, ...]) -> bool:
    return atoms == 0 or any(size <= atoms and _sums(atoms - size, sizes) for size in sizes)


def _most_orbits(number: int, atoms: int) -> int:
    """The largest number of positions that so many atoms fill; -1 where they fill none."""
    fixed, free = _sizes(number)
    best = [0] + [-1] * atoms
    for size in free:
        for n in range(size, atoms + 1):
            if best[n - size] >= 0:
                best[n] = max(best[n], best[n - size] + 1)
    for size, times in fixed:
        for _ in range(times):
            for n in range(atoms, size - 1, -1):
                if best[n - size] >= 0:
                    best[n] = max(best[n], best[n - size] + 1)
    return best[atoms]
