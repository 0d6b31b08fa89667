"""Structures as plain arrays in the Niggli-reduced, canonically oriented cell.

Rows of the lattice matrix are vectors in Å. The orientation follows from the six lattice parameters
(c along z, a in the xz plane), so equal crystals in rotated frames give equal arrays.
This module must not import torch: the processes that parse a data set need numpy and pymatgen only.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from pymatgen.core.lattice import Lattice
from pymatgen.core.periodic_table import Element
from pymatgen.core.structure import Structure
from pymatgen.io.cif import CifParser

VOLUME_TOLERANCE = 1e-4  # relative; a unimodular change of cell keeps the volume


@dataclass(frozen=True)
class CrystalArrays:
    """One crystal of A atoms as arrays."""

    frac_coords: np.ndarray  # (A, 3) float64 in [0, 1)
    atomic_numbers: np.ndarray  # (A,) int64 atomic numbers
    lattice: np.ndarray  # (3, 3) float64, rows in Å


def parse_cif(text: str) -> Structure:
    """Return the structure of a CIF text in its given cell; ValueError unless there is just one."""
    with warnings.catch_warnings():
        # pymatgen warns of rounded special positions and missing items; other problems raise.
        warnings.simplefilter("ignore")
        structures = CifParser.from_str(text).parse_structures(primitive=False, on_error="raise")
    if len(structures) != 1:
        raise ValueError(f"{len(structures)} structures in the CIF, expected 1")
    return structures[0]


def wrap(frac_coords: np.ndarray) -> np.ndarray:
    """Return fractional coordinates modulo 1 in float32, less than 1 after rounding."""
    wrapped = np.mod(frac_coords, 1.0).astype(np.float32)
    wrapped[wrapped >= 1.0] = 0.0  # a tiny negative rounds up to 1
    return wrapped


def reduce(structure: Structure) -> CrystalArrays:
    """Return an ordered structure in its Niggli-reduced cell, in canonical orientation.

    Raises:
        ValueError: there are no sites, an occupancy is partial, a species is a dummy, a number is
            not finite or the cell has no volume.
    """
    if len(structure) == 0:
        raise ValueError("no sites")
    if not structure.is_ordered:
        raise ValueError("partial occupancy or several species on one site")
    symbols = [site.specie for site in structure]
    if not all(isinstance(getattr(s, "element", s), Element) for s in symbols):
        raise ValueError("dummy species")
    matrix = structure.lattice.matrix
    if not (np.isfinite(matrix).all() and np.isfinite(structure.frac_coords).all()):
        raise ValueError("non-finite cell or coordinates")
    volume = abs(np.linalg.det(matrix))
    if volume < 1e-3:
        raise ValueError(f"cell volume {volume:.3g} Å³")
    # Both frames are right-handed, so no crystal turns into its mirror image.
    reduced = structure.lattice.get_niggli_reduced_lattice().matrix
    if not np.isclose(abs(np.linalg.det(reduced)), volume, rtol=VOLUME_TOLERANCE):
        raise ValueError("Niggli reduction changed the cell volume")
    frac_coords = structure.cart_coords @ np.linalg.inv(reduced)
    canonical = Lattice.from_parameters(*Lattice(reduced).parameters).matrix
    atomic_numbers = np.array([s.Z for s in symbols], dtype=np.int64)
    return CrystalArrays(
        np.mod(frac_coords, 1.0), atomic_numbers, np.array(canonical)
    )  # a writable copy
