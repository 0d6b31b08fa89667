"""The operations of a space group, in its conventional or its primitive cell."""

from __future__ import annotations

import itertools
import warnings
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
import spglib

GRID = 24
"""The translations of a standard setting are integers in units of 1/24 of the cell vectors."""


@dataclass(frozen=True)
class Operations:
    """The operations x → R x + t/24, one for each coset of the translations of the cell."""

    rotation: np.ndarray  # (G, 3, 3) int64
    translation: np.ndarray  # (G, 3) int64 in 0 … 23

    def __len__(self) -> int:
        return len(self.rotation)

    def changed(self, basis: np.ndarray) -> Operations:
        """Return the operations for coordinates ``basis`` x; ``basis`` is unimodular."""
        back = np.rint(np.linalg.inv(basis)).astype(np.int64)
        return Operations(basis @ self.rotation @ back, self.translation @ basis.T % GRID)


@lru_cache
def _hall_numbers() -> dict[int, int]:
    """Return the standard setting of each space group: the first one in the tables."""
    numbers: dict[int, int] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # spglib 2 announces new exceptions
        for hall in range(1, 531):
            kind = spglib.get_spacegroup_type(hall)
            assert kind is not None, f"spglib has no Hall number {hall}"
            numbers.setdefault(kind.number, hall)
    return numbers


def hall_number(number: int) -> int:
    """Return the Hall number of the standard setting of space group ``number``."""
    return _hall_numbers()[number]


@cache
def conventional(number: int) -> Operations:
    """Return the operations of the conventional cell of a space group, centring included."""
    hall = _hall_numbers()[number]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # spglib 2 announces new exceptions
        operations = spglib.get_symmetry_from_database(hall)
    assert operations is not None, f"spglib has no Hall number {hall}"
    translation = np.rint(operations["translations"] * GRID).astype(np.int64) % GRID
    return Operations(operations["rotations"].astype(np.int64), translation)


@cache
def primitive(number: int) -> Operations:
    """Return the operations of a primitive cell of a space group."""
    ops, back = conventional(number), to_primitive(number)
    rotation = back @ ops.rotation @ np.linalg.inv(back)
    # Operations that differ by a centring vector are now equal up to a lattice translation.
    whole = np.rint(rotation).astype(np.int64)
    _, first = np.unique(whole.reshape(len(ops), 9), axis=0, return_index=True)
    first.sort()
    return Operations(whole[first], ops.translation[first] @ back.T % GRID)


@cache
def to_primitive(number: int) -> np.ndarray:
    """Return the (3, 3) matrix from conventional coordinates to those of the primitive cell."""
    ops = conventional(number)
    pure = (ops.rotation == np.eye(3, dtype=np.int64)).all((1, 2))
    return _to_primitive(ops.translation[pure])


def centring(number: int) -> int:
    """Return the number of primitive cells in the conventional cell of a space group."""
    return len(conventional(number)) // len(primitive(number))


def _to_primitive(vectors: np.ndarray) -> np.ndarray:
    """Return the matrix (3, 3) from conventional to primitive coordinates.

    ``vectors`` (C, 3) are the centring vectors.
    """
    lattice = [*vectors[vectors.any(1)] - GRID * (vectors[vectors.any(1)] > GRID // 2)]
    lattice += [*(GRID * np.eye(3, dtype=np.int64))]
    for rows in itertools.combinations(lattice, 3):
        cell = np.array(rows, dtype=float).T / GRID
        if np.isclose(abs(np.linalg.det(cell)) * len(vectors), 1):
            cell = cell * np.sign(np.linalg.det(cell))
            return np.rint(np.linalg.inv(cell)).astype(np.int64)
    raise AssertionError("three of the centring and cell vectors always span the primitive cell")
