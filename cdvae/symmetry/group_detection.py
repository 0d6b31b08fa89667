"""Which space group a crystal has, as spglib finds it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import spglib

from cdvae.symmetry.group_cells import Group
from cdvae.symmetry.operations import GRID

OFF = 0.06
"""Fraction of the cell by which spglib's translations may differ from exact ones."""


def has_group(
    number: int,
    lattice: np.ndarray,
    frac_coords: np.ndarray,
    atomic_numbers: np.ndarray,
    symprec: float,
) -> bool:
    """Return whether spglib finds space group ``number`` or a supergroup at ``symprec`` Å.

    A supergroup has all operations of the group in some choice of axes and origin; the origin is
    taken as it is, so False may be wrong for a crystal that was moved.
    """
    cell: Any = (lattice, frac_coords, atomic_numbers)  # spglib declares nested sequences
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of how errors will be told
        try:
            dataset = spglib.get_symmetry_dataset(cell, symprec)
        except spglib.SpglibError:
            dataset = None
    if dataset is None:
        return False
    if dataset.number == number:
        return True
    places: dict[bytes, list[np.ndarray]] = {}
    for rotation, shift in zip(dataset.rotations, dataset.translations, strict=True):
        places.setdefault(rotation.astype(np.int64).tobytes(), []).append(shift)
    for basis in Group.of(number).choices(lattice):
        ops = Group.of(number).ops.changed(basis)
        pairs = zip(ops.rotation, ops.translation / GRID, strict=True)
        if all(
            any(_near(shift, move) for shift in places.get(rotation.tobytes(), ()))
            for rotation, move in pairs
        ):
            return True
    return False


def _near(shift: np.ndarray, move: np.ndarray) -> bool:
    away = shift - move
    return bool((np.abs(away - np.rint(away)) < OFF).all())
