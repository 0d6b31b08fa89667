"""Check of the space group of a crystal with spglib."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import spglib

from cdvae.symmetry.group_cells import Group
from cdvae.symmetry.operations import GRID

OFF = 0.06
"""Tolerance for the translations of spglib, in fractional coordinates."""


def has_group(
    number: int,
    lattice: np.ndarray,
    frac_coords: np.ndarray,
    atomic_numbers: np.ndarray,
    symprec: float,
) -> bool:
    """Return True if spglib finds space group ``number`` or a supergroup at ``symprec`` Å.

    A supergroup has all operations of the group for some choice of axes and origin. Only the
    present origin is tried, so the result may be False for a translated crystal.
    """
    cell: Any = (lattice, frac_coords, atomic_numbers)  # spglib declares nested sequences
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # spglib 2 announces new exceptions
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
