"""Validity of a crystal, as in the paper: distances between atoms, and composition (SMACT).

Xie et al., ICLR 2022: a structure is valid if all pairs of atoms are at least 0.5 Å apart and the
cell has volume; a composition is valid if it can be neutral (SMACT, Davies et al., JOSS 2019).
"""

import math
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from itertools import product

import numpy as np
import smact
from pymatgen.core.periodic_table import Element
from pymatgen.core.structure import Structure

MIN_DISTANCE = 0.5  # Å
MIN_VOLUME = 0.1  # Å³
MAX_SIGN_PATTERNS = 200_000


def has_cell(structure: Structure) -> bool:
    """Return True if there are atoms, all numbers are finite and the cell has at least 0.1 Å³."""
    matrix = structure.lattice.matrix
    return (
        len(structure) > 0
        and bool(np.isfinite(matrix).all() and np.isfinite(structure.frac_coords).all())
        and bool(abs(np.linalg.det(matrix)) >= MIN_VOLUME)
    )


def shortest_pair(structure: Structure) -> float:
    """Return the shortest periodic distance, Å, of two different atoms of the cell; inf for one.

    An atom's own images do not count. The structure must satisfy `has_cell`.
    """
    distances = structure.distance_matrix
    np.fill_diagonal(distances, np.inf)
    return float(distances.min())


def shortest_contact(structure: Structure) -> float:
    """Return the shortest distance, Å, of two atoms of the crystal, images of one included.

    The structure must satisfy `has_cell`.
    """
    steps = np.array([step for step in product((-1, 0, 1), repeat=3) if any(step)])
    vectors = steps @ structure.lattice.get_lll_reduced_lattice().matrix
    return min(shortest_pair(structure), float(np.linalg.norm(vectors, axis=1).min()))


def separated(structure: Structure) -> bool:
    """Return True if the cell is valid and no two atoms, images included, are closer than 0.5 Å.

    This is stricter than `structure_valid`: a needle-shaped cell fails. Searches for symmetry and
    neighbors, which would take too long in such cells, require it.
    """
    return has_cell(structure) and shortest_contact(structure) >= MIN_DISTANCE


def structure_valid(structure: Structure) -> bool:
    """Return True if the cell is valid and no two atoms are closer than 0.5 Å; NaN is invalid."""
    return has_cell(structure) and shortest_pair(structure) >= MIN_DISTANCE


def composition_valid(counts: Mapping[int, int]) -> bool:
    """Return True if atoms counted by atomic number can make a neutral compound.

    A single element and an alloy of metals are valid. Otherwise some choice of one oxidation state
    per element (SMACT's 2014 list) must be neutral and pass the Pauling test. Only ratios of counts
    matter.
    """
    present = sorted((int(z), int(n)) for z, n in counts.items() if n)
    if not present or any(n < 0 for _, n in present):
        return False
    divisor = math.gcd(*(n for _, n in present))
    return _smact_valid(tuple((z, n // divisor) for z, n in present))


def species_counts(structure: Structure) -> dict[int, int]:
    """Return the atoms of each atomic number in an ordered structure."""
    numbers, counts = np.unique([site.specie.Z for site in structure], return_counts=True)
    return dict(zip(numbers.tolist(), counts.tolist(), strict=True))


@lru_cache(maxsize=100_000)
def _smact_valid(composition: tuple[tuple[int, int], ...]) -> bool:
    """Return the rule for (Z, count) pairs in lowest terms, ordered by Z.

    `smact.screening.smact_validity` differs from the published numbers for elements without an
    electronegativity and tries every combination of states. Here combinations are grouped by the
    signs of the states, which decide the Pauling test. A set of reachable charges then decides
    neutrality, so the cost does not grow exponentially with the number of elements.
    """
    elements = [_element(z) for z, _ in composition]
    if len(elements) == 1 or all(element.metal for element in elements):
        return True
    patterns = math.prod(len(element.states) for element in elements)
    if patterns > MAX_SIGN_PATTERNS:
        return False  # eleven or more elements that all take both signs: no real compound
    electronegativities = [element.electronegativity for element in elements]
    for signs in product(*(element.states for element in elements)):
        if _pauling(signs, electronegativities) and _neutral(
            (element.states[sign], count)
            for element, sign, (_, count) in zip(elements, signs, composition, strict=True)
        ):
            return True
    return False


def _pauling(signs: tuple[int, ...], electronegativities: list[float | None]) -> bool:
    """Return True if every cation is less electronegative than every anion.

    The first pair with an unknown electronegativity decides: it passes if the signs are opposite
    and fails if they are equal, as in the SMACT release of the paper.
    """
    for i, first in enumerate(signs):
        for j in range(i + 1, len(signs)):
            chi_i, chi_j = electronegativities[i], electronegativities[j]
            opposite = first * signs[j] < 0
            if chi_i is None or chi_j is None:
                return opposite
            if opposite and (chi_i - chi_j) * first >= 0:
                return False
    return True


def _neutral(choices: Iterator[tuple[tuple[int, ...], int]]) -> bool:
    """Return True if the charges of some choice of states add up to 0, given (states, count)."""
    charges = {0}
    for states, count in choices:
        charges = {charge + state * count for charge in charges for state in states}
    return 0 in charges


class _SmactElement:
    """The data of an element for SMACT; `states` maps a sign (-1, 1) to oxidation states."""

    def __init__(self, symbol: str) -> None:
        self.metal = symbol in smact.metals
        self.electronegativity: float | None = None
        self.states: dict[int, tuple[int, ...]] = {}
        try:
            data = smact.Element(symbol)
        except KeyError:  # beyond Lr: SMACT has no data, so no state makes it neutral
            return
        self.electronegativity = data.pauling_eneg
        for sign in (-1, 1):
            states = tuple(s for s in data.oxidation_states_smact14 or () if s * sign > 0)
            if states:
                self.states[sign] = states


@cache
def _element(atomic_number: int) -> _SmactElement:
    return _SmactElement(Element.from_Z(atomic_number).symbol)
