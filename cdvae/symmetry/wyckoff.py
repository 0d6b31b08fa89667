"""The Wyckoff positions of a group of operations, found from the operations alone."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from cdvae.symmetry.operations import GRID, Operations


@dataclass(frozen=True)
class Position:
    """Sites x with the same symmetry: ``base`` + ``freedom`` u for any u, and their images.

    Every site of the position is left alone by ``stabiliser`` operations, and the ``multiplicity``
    operations with number ``first`` carry it to its different images.
    """

    base: np.ndarray  # (3,) int64 24ths, a site without further symmetry
    freedom: np.ndarray  # (3, 3) projector
    stabiliser: int
    first: np.ndarray  # (M,) int64
    images: np.ndarray  # (G, M) int64: operation g carries image m to image images[g, m]

    @property
    def multiplicity(self) -> int:
        """Atoms in the cell."""
        return len(self.first)

    @property
    def free(self) -> bool:
        """Whether a site may move: then there is room for any number of atoms."""
        return bool(self.freedom.any())


def positions(ops: Operations) -> list[Position]:
    """All Wyckoff positions, the least numerous first.

    The sites of a grid of 24ths meet every position at a point without further symmetry. Two of
    them belong to one position if an operation or a translation of the lattice carries the points
    that are fixed by the operations of one to those of the other.
    """
    grid = np.indices((GRID,) * 3).reshape(3, -1).T  # (P, 3), point number (x·24 + y)·24 + z
    away = grid[:, None] - (np.einsum("gij,pj->pgi", ops.rotation, grid) + ops.translation)
    fixed = (away % GRID == 0).all(-1)  # (P, G)
    shift = np.where(fixed[..., None], away // GRID, 0).astype(np.int8)
    keys = np.concatenate([fixed[..., None], shift], -1).reshape(len(grid), -1).astype(np.int8)
    # Rows as single values: sorting bytes is much faster than sorting rows.
    packed = np.ascontiguousarray(keys).view(np.dtype((np.void, keys.shape[1]))).ravel()
    _, first, kind = np.unique(packed, return_index=True, return_inverse=True)
    group = _Groups(len(first))
    number = {packed[point].tobytes(): i for i, point in enumerate(first)}
    place = np.array([GRID * GRID, GRID, 1])
    for i, point in enumerate(first):
        carried = (ops.rotation @ grid[point] + ops.translation) % GRID
        for other in set(kind[carried @ place].tolist()):
            group.join(i, other)
        for step in itertools.product((-1, 0, 1), repeat=3):
            moved = shift[point] + fixed[point][:, None] * (step - ops.rotation @ step)
            key = np.concatenate([fixed[point][:, None], moved], 1).astype(np.int8).tobytes()
            if key in number:
                group.join(i, number[key])
    chosen = [first[i] for i in range(len(first)) if group.root(i) == i]
    found = [_position(ops, grid[point], fixed[point]) for point in chosen]
    return sorted(found, key=lambda one: (one.multiplicity, np.trace(one.freedom)))


def _position(ops: Operations, base: np.ndarray, fixed: np.ndarray) -> Position:
    carried = (ops.rotation @ base + ops.translation) % GRID
    sites, first = np.unique(carried, axis=0, return_index=True)
    again = (np.einsum("gij,mj->gmi", ops.rotation, sites) + ops.translation[:, None]) % GRID
    same = (again[:, :, None] == sites).all(-1)  # (G, M, M)
    freedom = ops.rotation[fixed].mean(0)
    freedom[np.abs(freedom) < 1e-9] = 0.0
    return Position(base, freedom, int(fixed.sum()), first, same.argmax(-1))


class _Groups:
    """Disjoint sets of the numbers 0 … n − 1."""

    def __init__(self, n: int) -> None:
        self._parent = list(range(n))

    def root(self, i: int) -> int:
        while self._parent[i] != i:
            self._parent[i] = self._parent[self._parent[i]]
            i = self._parent[i]
        return i

    def join(self, i: int, j: int) -> None:
        low, high = sorted((self.root(i), self.root(j)))
        self._parent[high] = low
