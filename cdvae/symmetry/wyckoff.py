"""The Wyckoff positions of a space group, computed from its operations."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cdvae.symmetry.operations import GRID, Operations


@dataclass(frozen=True)
class Position:
    """A Wyckoff position: the sites ``base`` + ``freedom`` u for any u, and their images.

    ``stabilizer`` operations fix a site; the operations ``first`` carry it to its ``multiplicity``
    distinct images.
    """

    base: np.ndarray  # (3,) int64 24ths, a site without further symmetry
    freedom: np.ndarray  # (3, 3) projector
    stabilizer: int
    first: np.ndarray  # (M,) int64
    images: np.ndarray  # (G, M) int64: operation g carries image m to image images[g, m]

    @property
    def multiplicity(self) -> int:
        """The number of atoms in the cell."""
        return len(self.first)

    @property
    def free(self) -> bool:
        """True if a site has a degree of freedom; the position can then be filled repeatedly."""
        return bool(self.freedom.any())


def positions(ops: Operations) -> list[Position]:
    """Return all Wyckoff positions, the lowest multiplicity first.

    A grid of 24ths contains a point without further symmetry of every position. Two points belong
    to one position if an operation or a lattice translation maps the fixed points of the site
    symmetry group of one to those of the other.
    """
    grid = np.indices((GRID,) * 3).reshape(3, -1).T  # (P, 3), point number (x·24 + y)·24 + z
    fixed, shift = _site_symmetry(ops, grid)
    packed = _packed(fixed, shift)
    # One point represents all points with the same site symmetry.
    _, representatives, kind = np.unique(packed, return_index=True, return_inverse=True)
    number = {packed[point].tobytes(): i for i, point in enumerate(representatives)}
    classes = _DisjointSets(len(representatives))
    for i, point in enumerate(representatives):
        for other in _kinds_of_images(ops, grid[point], kind):
            classes.join(i, other)
        for key in _keys_of_translations(ops, fixed[point], shift[point]):
            if key in number:
                classes.join(i, number[key])
    chosen = [representatives[i] for i in range(len(representatives)) if classes.root(i) == i]
    wyckoff = [_position(ops, grid[point], fixed[point]) for point in chosen]
    return sorted(wyckoff, key=lambda one: (one.multiplicity, np.trace(one.freedom)))


def _site_symmetry(ops: Operations, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the operations that fix each point, (P, G) bool, and their translations (P, G, 3)."""
    away = grid[:, None] - (np.einsum("gij,pj->pgi", ops.rotation, grid) + ops.translation)
    fixed = (away % GRID == 0).all(-1)
    return fixed, np.where(fixed[..., None], away // GRID, 0).astype(np.int8)


def _packed(fixed: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return the site symmetry of each point as a single value (P,).

    Sorting bytes is much faster than sorting rows.
    """
    rows = np.concatenate([fixed[..., None], shift], -1).reshape(len(fixed), -1).astype(np.int8)
    return np.ascontiguousarray(rows).view(np.dtype((np.void, rows.shape[1]))).ravel()


def _kinds_of_images(ops: Operations, point: np.ndarray, kind: np.ndarray) -> set[int]:
    """Return the ``kind`` (P,) of the images of ``point`` (3,)."""
    images = (ops.rotation @ point + ops.translation) % GRID
    numbers = images @ np.array([GRID * GRID, GRID, 1])
    return set(kind[numbers].tolist())


def _keys_of_translations(ops: Operations, fixed: np.ndarray, shift: np.ndarray) -> Iterator[bytes]:
    """Yield the packed site symmetries of a point moved by each short lattice translation."""
    for step in itertools.product((-1, 0, 1), repeat=3):
        moved = shift + fixed[:, None] * (step - ops.rotation @ step)
        yield np.concatenate([fixed[:, None], moved], 1).astype(np.int8).tobytes()


def _position(ops: Operations, base: np.ndarray, fixed: np.ndarray) -> Position:
    """Return the position of the site ``base`` (3,), which the ``fixed`` (G,) operations fix."""
    carried = (ops.rotation @ base + ops.translation) % GRID
    sites, first = np.unique(carried, axis=0, return_index=True)
    again = (np.einsum("gij,mj->gmi", ops.rotation, sites) + ops.translation[:, None]) % GRID
    same = (again[:, :, None] == sites).all(-1)  # (G, M, M)
    freedom = ops.rotation[fixed].mean(0)
    freedom[np.abs(freedom) < 1e-9] = 0.0
    return Position(base, freedom, int(fixed.sum()), first, same.argmax(-1))


class _DisjointSets:
    """Disjoint sets of the numbers 0 … n − 1 (union-find)."""

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
