"""Search a set of known crystals with StructureMatcher."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from pymatgen.core.structure import Structure

from cdvae.data.process_map import Progress, parallel_map
from cdvae.metrics.fingerprint import Fingerprint, fingerprint
from cdvae.metrics.matching import equivalent, primitive
from cdvae.metrics.validity import separated

_Reduced = tuple[Structure, Fingerprint]
_Job = tuple[_Reduced, list[_Reduced]]


def known_crystals(
    structures: Sequence[Structure],
    known: Sequence[Structure],
    workers: int = 1,
    progress: Progress | None = None,
) -> list[bool]:
    """Return for each structure whether `StructureMatcher.fit` pairs it with one of `known`.

    The tolerances are those of reconstruction (stol 0.5, ltol 0.3, angle_tol 10). Only crystals of
    equal reduced formula and with the same number of atoms in the primitive cell can match; those
    with the nearest fingerprints are compared first. A structure matches nothing if its atoms are
    not separated (`validity.separated`).

    Args:
        structures: the crystals to search for.
        known: the crystals to search.
        workers: number of processes.
        progress: called with (crystals done, crystals).
    """
    formulas = {_formula(structure) for structure in structures}
    relevant = [structure for structure in known if _formula(structure) in formulas]
    groups: defaultdict[tuple[object, int], list[_Reduced]] = defaultdict(list)
    for entry in parallel_map(_reduce, relevant, workers, chunk_size=64):
        if entry is not None:
            groups[entry[1].formula, len(entry[0])].append(entry)
    jobs: list[_Job | None] = []
    for entry in parallel_map(_reduce, structures, workers, chunk_size=64):
        jobs.append(entry and (entry, _nearest_first(entry, groups)))
    return parallel_map(_is_known, jobs, workers, progress, chunk_size=8)


def _formula(structure: Structure) -> str:
    return structure.composition.element_composition.reduced_formula


def _reduce(structure: Structure) -> _Reduced | None:
    cell = primitive(structure) if separated(structure) else None
    return None if cell is None else (cell, fingerprint(structure))


def _nearest_first(
    entry: _Reduced, groups: defaultdict[tuple[object, int], list[_Reduced]]
) -> list[_Reduced]:
    candidates = groups.get((entry[1].formula, len(entry[0])), [])
    order = np.argsort([entry[1].difference(other[1]) for other in candidates], kind="stable")
    return [candidates[i] for i in order]


def _is_known(job: _Job | None) -> bool:
    if job is None:
        return False
    (structure, _), candidates = job
    return any(equivalent(structure, other) for other, _ in candidates)
