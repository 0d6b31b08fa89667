"""Which Wyckoff positions the atoms of a crystal occupy."""

from __future__ import annotations

import itertools
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import spglib

from cdvae.symmetry.group_cells import Group
from cdvae.symmetry.operations import GRID, hall_number, to_primitive

WHOLE = 1e-3
"""How far a whole number in spglib's transformation may be off."""
_TRANSLATIONS = np.array(list(itertools.product((-2, -1, 0, 1, 2), repeat=3)))


@dataclass(frozen=True)
class OccupiedSites:
    """The space group of a crystal and the Wyckoff position of each of its N atoms."""

    spacegroup: int
    positions: np.ndarray  # (N,) int64, indices into the positions of `Group.of(spacegroup)`
    basis: np.ndarray  # (3, 3) int64, from the coordinates of the group to those in the cell


def find_sites(
    lattice: np.ndarray, frac_coords: np.ndarray, atomic_numbers: np.ndarray, symprec: float
) -> OccupiedSites | None:
    """Return the sites that spglib finds in a primitive cell, or None.

    The result is None if spglib fails, or if the cell is not primitive at this ``symprec``.

    Args:
        lattice: (3, 3) Å, rows.
        frac_coords: (N, 3).
        atomic_numbers: (N,).
        symprec: tolerance, Å.
    """
    cell: Any = (lattice, frac_coords, atomic_numbers)  # spglib declares nested sequences
    found = _dataset(cell, symprec, 0)
    if found is None:
        return None
    number, standard = int(found.number), found
    if found.hall_number != hall_number(number):  # again, in the setting of our tables
        standard = _dataset(cell, symprec, hall_number(number))
        if standard is None or int(standard.number) != number:
            return None
    back = to_primitive(number)
    coords = (frac_coords @ standard.transformation_matrix.T + standard.origin_shift) @ back.T
    basis = np.linalg.inv(back @ standard.transformation_matrix)
    if np.abs(basis - np.rint(basis)).max() > WHOLE:
        return None
    orbits = np.unique(standard.crystallographic_orbits, return_inverse=True)[1]
    sizes = np.bincount(orbits)
    positions = np.zeros(len(frac_coords), dtype=np.int64)
    for orbit, size in enumerate(sizes):
        atoms = np.flatnonzero(orbits == orbit)
        position = _nearest_position(number, int(size), coords[atoms[0]])
        if position is None:
            return None
        positions[atoms] = position
    return OccupiedSites(number, positions, np.rint(basis).astype(np.int64))


def _dataset(cell: Any, symprec: float, hall: int) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of how errors will be told
        try:
            return spglib.get_symmetry_dataset(cell, symprec, hall_number=hall)
        except spglib.SpglibError:
            return None


def _nearest_position(number: int, multiplicity: int, point: np.ndarray) -> int | None:
    """Return the position of this ``multiplicity`` with a site nearest to ``point`` (3,)."""
    group = Group.of(number)
    images = group.ops.rotation @ point + group.ops.translation / GRID  # (G, 3)
    best, nearest = None, np.inf
    for index, position in enumerate(group.positions):
        if position.multiplicity != multiplicity:
            continue
        across = np.eye(3) - position.freedom
        away = (images - position.base / GRID) @ across.T
        steps = _steps_across(number, index)
        distance = np.linalg.norm(away[:, None] - steps, axis=-1).min()
        if distance < nearest - 1e-9:
            best, nearest = index, distance
    return best


@lru_cache(maxsize=2048)
def _steps_across(number: int, index: int) -> np.ndarray:
    """Return (S, 3) the lattice translations without their part along the free directions."""
    across = np.eye(3) - Group.of(number).positions[index].freedom
    return np.unique(np.round(_TRANSLATIONS @ across.T, 9), axis=0)
