"""Binary vectors that describe the elements, as in CGCNN."""

import warnings
from functools import cache

import numpy as np
from pymatgen.analysis.molecule_structure_comparator import CovalentRadius
from pymatgen.core.periodic_table import Element

NUM_ELEMENTS = 103
"""Hydrogen to lawrencium."""
GROUPS, PERIODS, VALENCE, BLOCKS, BINS = 18, 8, 12, "spdf", 10
NUM_DESCRIPTORS = GROUPS + PERIODS + VALENCE + len(BLOCKS) + 5 * BINS
_XENON, _RADON = 54, 86


@cache
def element_descriptors() -> np.ndarray:
    """Return zeros and ones (103, 92), read-only; row k is atomic number k + 1.

    The categories are those of CGCNN's supplement (Xie & Grossman, PRL 120, 145301, 2018,
    table S1): group (18), period (8), electronegativity (10 bins from 0.5 to 4), covalent radius
    (10, 25 to 250 pm), valence electrons (12), first ionisation energy (10, ln eV from 1.3 to 3.3),
    electron affinity (10, -3 to 3.7 eV), block (4) and atomic volume (10, ln cm³/mol from 1.5 to
    4.3). The values are pymatgen's, so single bits can differ from the file that the original FTCP
    reads. An unknown value sets no bit; a value outside its range sets the bit at that end.
    """
    rows = np.zeros((NUM_ELEMENTS, NUM_DESCRIPTORS), dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pymatgen warns of every unknown value
        for number in range(1, NUM_ELEMENTS + 1):
            rows[number - 1] = _describe(Element.from_Z(number))
    rows.flags.writeable = False
    return rows


def _describe(element: Element) -> np.ndarray:
    radius = CovalentRadius.radius.get(element.symbol)
    return np.concatenate(
        [
            _one_hot(element.group - 1, GROUPS),
            _one_hot(element.row - 1, PERIODS),
            _binned(element.X, 0.5, 4.0),
            _binned(None if radius is None else 100 * radius, 25, 250),
            _one_hot(_valence_electrons(element) - 1, VALENCE),
            _binned(_log(element.ionization_energy), 1.3, 3.3),
            _binned(element.electron_affinity, -3, 3.7),
            _one_hot(BLOCKS.index(element.block), len(BLOCKS)),
            _binned(_log(element.molar_volume), 1.5, 4.3),
        ]
    )


def _valence_electrons(element: Element) -> int:
    """Return the electrons outside the noble-gas core and filled d and f shells, at most 12."""
    if element.symbol == "He":
        return 2
    if element.block == "p":
        return element.group - 10
    if element.block == "f":
        core = _XENON if element.Z < _RADON else _RADON
        return min(element.Z - core, VALENCE)
    return element.group


def _log(value: float | None) -> float | None:
    return None if value is None else float(np.log(value))


def _binned(value: float | None, lowest: float, highest: float) -> np.ndarray:
    if value is None or not np.isfinite(value):
        return np.zeros(BINS)
    place = int((value - lowest) / (highest - lowest) * BINS)
    return _one_hot(min(max(place, 0), BINS - 1), BINS)


def _one_hot(place: int, size: int) -> np.ndarray:
    row = np.zeros(size)
    row[place] = 1
    return row
