"""Comparison of crystals with pymatgen's StructureMatcher and the paper's tolerances."""

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core.structure import Structure

from cdvae.metrics.fingerprint import TOLERANCE, Fingerprint, identify
from cdvae.metrics.validity import has_cell, species_counts

_FAILURES = (ValueError, ArithmeticError, IndexError)
"""pymatgen raises these for a generated cell that is too flat for its cell reductions."""

MATCHER = StructureMatcher(stol=0.5, angle_tol=10, ltol=0.3)


def match(reference: Structure, prediction: Structure) -> float | None:
    """Return the RMS distance of the best match in units of (V/N)^(1/3); None without a match.

    A structure without a valid cell (`validity.has_cell`) matches nothing.
    """
    if not (has_cell(reference) and has_cell(prediction)):
        return None
    if _fractions(reference) != _fractions(prediction):
        return None  # no match is possible; this saves the cell reductions
    try:
        distance = MATCHER.get_rms_dist(reference, prediction)
    except _FAILURES:
        return None
    return None if distance is None else float(distance[0])


def primitive(structure: Structure) -> Structure | None:
    """Return the Niggli-reduced primitive cell, as the matcher does; None if that fails."""
    try:
        return structure.get_reduced_structure("niggli").get_primitive_structure()
    except _FAILURES:
        return None


def equivalent(first: Structure | None, second: Structure | None) -> bool:
    """Return True if `StructureMatcher.fit` pairs two cells from `primitive`.

    It is many times faster to reduce each crystal once than in every comparison. Cells with
    different numbers of atoms never match.
    """
    if first is None or second is None or len(first) != len(second):
        return False
    try:
        return bool(MATCHER.fit(first, second, skip_structure_reduction=True))
    except _FAILURES:
        return False


class _Seen:
    """The distinct crystals of one formula so far: their indices and fingerprints."""

    def __init__(self) -> None:
        self._indices: list[int] = []
        self._distances = np.empty(0)

    def near(self, fingerprint: Fingerprint) -> list[int]:
        """Return the indices of the crystals whose fingerprints agree within the tolerance."""
        count = len(self._indices)
        if not count:
            return []
        known = self._distances[:count]
        differences = np.abs(known - fingerprint.distances).reshape(count, -1).max(axis=1)
        return [self._indices[row] for row in np.flatnonzero(differences <= TOLERANCE)]

    def add(self, index: int, fingerprint: Fingerprint) -> None:
        count = len(self._indices)
        if count == len(self._distances):  # double the room
            room = np.empty((max(4, 2 * count), *fingerprint.distances.shape))
            if count:
                room[:count] = self._distances
            self._distances = room
        self._distances[count] = fingerprint.distances
        self._indices.append(index)


def duplicates(
    structures: Sequence[Structure],
    fingerprints: Sequence[Fingerprint | None] | None = None,
    on_step: Callable[[], object] = lambda: None,
) -> list[int | None]:
    """Return for each structure the index of the first equal one before it; None if it is new.

    Two crystals are equal if their fingerprints agree within the tolerance and `equivalent` pairs
    them. The matcher without fingerprints also pairs different crystals (94 of 2,265 Perov-5 pairs
    of equal formula and different geometry, all with an rms of 0.44 or more); fingerprints without
    the matcher pair mirror images. A structure whose atoms are not separated equals no other.

    Args:
        structures: the crystals.
        fingerprints: `identify` of each structure; None: they are computed.
        on_step: called before each structure; may raise to stop.
    """
    if fingerprints is None:
        fingerprints = [identify(structure) for structure in structures]
    seen: defaultdict[tuple[tuple[int, int], ...], _Seen] = defaultdict(_Seen)
    cells: dict[int, Structure | None] = {}

    def cell(index: int) -> Structure | None:
        if index not in cells:
            cells[index] = primitive(structures[index])
        return cells[index]

    result: list[int | None] = []
    for index, fingerprint in enumerate(fingerprints):
        on_step()
        if fingerprint is None:
            result.append(None)
            continue
        near = (
            earlier
            for earlier in seen[fingerprint.formula].near(fingerprint)
            if equivalent(cell(earlier), cell(index))
        )
        first = next(near, None)
        if first is None:
            seen[fingerprint.formula].add(index, fingerprint)
        result.append(first)
    return result


def _fractions(structure: Structure) -> dict[int, float]:
    return {z: count / len(structure) for z, count in species_counts(structure).items()}
