"""Decide whether atoms and cells fit a space group, without numpy.

The HTTP front end and the worker share this module, so that a request is rejected exactly when its
job would be infeasible. It imports the standard library only. `python -m cdvae.symmetry.site_table`
writes `space_groups.json`.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal

MAX_STRAIN = 0.01
"""Largest strain between a given cell and a cell of the group."""

NUM_POSITIONS = 1731
"""Wyckoff positions of all space groups."""

Stoichiometry = tuple[int, ...]
"""Atoms of each element in the cell."""
FixedPositions = tuple[tuple[int, int], ...]
"""(multiplicity, number of positions) of the positions without freedom, which are filled once."""
Setting = Literal["conventional", "primitive"]
Vector = Sequence[float]

COMPONENTS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
"""Components of a symmetric 3 × 3 matrix, in the order of the averages in the table."""
COMMON_ORDER = 48
"""Denominator of the averages: the order of every point group divides it."""


@cache
def _table() -> dict[str, Any]:
    text = Path(__file__).with_name("space_groups.json").read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table


def position_number(number: int, index: int) -> int:
    """Return a number from 1 to NUM_POSITIONS for position `index` of space group `number`."""
    return 1 + _positions_before()[number] + index


@cache
def _positions_before() -> dict[int, int]:
    """Return how many positions all lower space groups have together."""
    sizes = [int(_table()["groups"][str(number)]["positions"]) for number in range(1, 231)]
    return dict(zip(range(1, 231), itertools.accumulate(sizes, initial=0), strict=False))


def group_has_sites(number: int, counts: Sequence[int], cells: int = 1) -> bool:
    """Return True if the atoms of each element fill whole positions of `cells` primitive cells."""
    if any(count % cells for count in counts):
        return False
    fixed, free = _positions(number)
    return fits(tuple(sorted(count // cells for count in counts)), fixed, free)


def group_has_room(number: int, atoms: int, elements: int, cells: int = 1) -> bool:
    """Return True if `atoms` atoms of at least `elements` elements fill whole positions."""
    return atoms % cells == 0 and _max_orbits(number, atoms // cells) >= elements


def primitive_cells(number: int, setting: Setting) -> int:
    """Return the number of primitive cells in a cell of this setting."""
    return int(_table()["groups"][str(number)]["centring"]) if setting == "conventional" else 1


def cell_setting(number: int, lattice: Sequence[Vector]) -> Setting | None:
    """Return the setting in which the rows of `lattice` (Å) are a cell of the group, or None.

    The axes may be any unimodular combination of the rows with coefficients −1, 0 and 1.
    """
    entry = _table()["groups"][str(number)]
    bases = list(_metrics(lattice))
    settings: tuple[Setting, ...] = ("conventional", "primitive")
    for setting in settings:
        average = _table()["averages"][entry[setting]]
        if any(_keeps_symmetry(metric, average) for metric in bases):
            return setting
    return None


def _metrics(lattice: Sequence[Vector]) -> Iterator[Vector]:
    """Yield the components of the metric (Å²) in every choice of axes."""
    axes = list(itertools.product((-1, 0, 1), repeat=3))
    vectors = [
        [sum(a[row] * lattice[row][column] for row in range(3)) for column in range(3)]
        for a in axes
    ]
    dots = [
        [sum(map(float.__mul__, map(float, v), map(float, w))) for w in vectors] for v in vectors
    ]
    for i, j, k in _unimodular():
        yield dots[i][i], dots[j][j], dots[k][k], dots[i][j], dots[i][k], dots[j][k]


@cache
def _unimodular() -> tuple[tuple[int, int, int], ...]:
    """Return the triples of axes, as indices into the product above, with determinant 1."""
    axes = list(itertools.product((-1, 0, 1), repeat=3))
    return tuple(
        (i, j, k)
        for i, j, k in itertools.permutations(range(len(axes)), 3)
        if _determinant(axes[i], axes[j], axes[k]) == 1
    )


def _determinant(a: Vector, b: Vector, c: Vector) -> float:
    return (
        a[0] * (b[1] * c[2] - b[2] * c[1])
        - a[1] * (b[0] * c[2] - b[2] * c[0])
        + a[2] * (b[0] * c[1] - b[1] * c[0])
    )


def _keeps_symmetry(metric: Vector, average: Sequence[Sequence[int]]) -> bool:
    """Return True if averaging the metric over the rotations strains it by less than MAX_STRAIN.

    The strain is the Frobenius norm of M⁻¹ S − 1 for the metric M and its average S.
    """
    symmetric: list[float] = []
    for place, row in enumerate(average):
        value = sum(map(float.__mul__, map(float, row), metric)) / COMMON_ORDER
        # The strain is at least the relative change of a length; most axes fail here.
        if place < 3 and abs(value - metric[place]) > 2 * MAX_STRAIN * metric[place]:
            return False
        symmetric.append(value)
    m, s = _matrix(metric), _matrix(symmetric)
    volume = _determinant(*m)
    if volume <= 0:
        return False
    inverse = [
        [
            (
                m[(j + 1) % 3][(i + 1) % 3] * m[(j + 2) % 3][(i + 2) % 3]
                - m[(j + 1) % 3][(i + 2) % 3] * m[(j + 2) % 3][(i + 1) % 3]
            )
            / volume
            for j in range(3)
        ]
        for i in range(3)
    ]
    strain = [
        [sum(inverse[i][k] * s[k][j] for k in range(3)) - (i == j) for j in range(3)]
        for i in range(3)
    ]
    squared = sum(strain[i][j] * strain[j][i] for i in range(3) for j in range(3))
    return math.sqrt(max(squared, 0.0)) < MAX_STRAIN


def _matrix(components: Vector) -> list[list[float]]:
    matrix = [[0.0] * 3 for _ in range(3)]
    for (i, j), value in zip(COMPONENTS, components, strict=True):
        matrix[i][j] = matrix[j][i] = value
    return matrix


def _positions(number: int) -> tuple[FixedPositions, tuple[int, ...]]:
    entry = _table()["groups"][str(number)]
    return tuple((int(size), n) for size, n in entry["fixed"].items()), tuple(entry["free"])


@lru_cache(maxsize=100_000)
def fits(shares: Stoichiometry, fixed: FixedPositions, free: tuple[int, ...]) -> bool:
    """Return True if all elements find positions; `free` are multiplicities that may repeat."""
    if not shares:
        return True
    return any(fits(shares[:-1], left, free) for _, left in uses(shares[-1], fixed, free))


def uses(
    atoms: int, fixed: FixedPositions, free: tuple[int, ...]
) -> Iterator[tuple[FixedPositions, FixedPositions]]:
    """Yield the fixed positions that an element with `atoms` may take, and the remaining ones."""
    if not fixed:
        if is_sum(atoms, free):
            yield (), ()
        return
    (size, number), *others = fixed
    for taken in range(min(number, atoms // size) + 1):
        for use, left in uses(atoms - taken * size, tuple(others), free):
            yield ((size, taken), *use), ((size, number - taken), *left)


@lru_cache(maxsize=10_000)
def is_sum(atoms: int, sizes: tuple[int, ...]) -> bool:
    """Return True if `atoms` is a sum of `sizes`, which may repeat."""
    return atoms == 0 or any(size <= atoms and is_sum(atoms - size, sizes) for size in sizes)


def _max_orbits(number: int, atoms: int) -> int:
    """Return the largest number of positions that the atoms fill; -1 if they fill none."""
    fixed, free = _positions(number)
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
