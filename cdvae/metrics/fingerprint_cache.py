"""Coverage fingerprints of many crystals, computed by several processes and kept on disk.

A cache is a folder of small files, one for each PART crystals, named by the sha256 of these
crystals and of the featurizer's version. An interrupted computation resumes from its files. A
changed data set or version has other names, and damaged files (they have checksums) are replaced.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pymatgen.core.structure import Structure

from cdvae.data.process_map import Progress, parallel_map
from cdvae.metrics.coverage_fingerprint import (
    COMPOSITION,
    STRUCTURE,
    CoverageFingerprints,
    coverage_fingerprint,
    featurizer_version,
)

PART = 32

_Part = tuple[Sequence[Structure | None], Path | None]


def coverage_fingerprints(
    structures: Sequence[Structure | None],
    cache: Path | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> CoverageFingerprints:
    """Return the fingerprints of all crystals, in order.

    Args:
        structures: the crystals; None for a failed one.
        cache: folder to read the fingerprints from and to write them to; None: no cache.
        workers: number of processes.
        progress: called with (crystals done, crystals).

    Raises:
        MissingFeaturizerError: matminer is not installed.
    """
    current = featurizer_version()
    starts = range(0, len(structures), PART)
    parts: list[_Part] = []
    for start in starts:
        part = structures[start : start + PART]
        parts.append((part, cache / f"{_key(part, current)}.npz" if cache else None))
    rows = [_read(*part) for part in parts]
    missing = [i for i, part_rows in enumerate(rows) if part_rows is None]
    present = len(starts) - len(missing)

    def on_part(done: int, total: int) -> None:
        if progress:
            progress(min((present + done) * PART, len(structures)), len(structures))

    if cache and missing:
        cache.mkdir(parents=True, exist_ok=True)
    computed = parallel_map(_compute, [parts[i] for i in missing], workers, on_part, chunk_size=1)
    for index, part_rows in zip(missing, computed, strict=True):
        rows[index] = part_rows
    empty = np.empty((0, STRUCTURE + COMPOSITION))
    return CoverageFingerprints.from_rows(np.concatenate([empty, *rows]))


def _key(structures: Sequence[Structure | None], featurizer: str) -> str:
    digest = hashlib.sha256(featurizer.encode())
    for structure in structures:
        if structure is None:
            digest.update(b"none")
            continue
        numbers = np.array([site.specie.Z for site in structure], dtype=np.int64)
        for array in (structure.lattice.matrix, structure.frac_coords, numbers):
            digest.update(str(array.shape).encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _read(structures: Sequence[Structure | None], file: Path | None) -> np.ndarray | None:
    """Return the rows in `file`; None if it is missing, damaged or of another shape."""
    if file is None or not file.is_file():
        return None
    try:
        with np.load(io.BytesIO(file.read_bytes())) as archive:
            rows: np.ndarray = archive["rows"]
    except Exception:  # a damaged archive raises many types
        return None
    return rows if rows.shape == (len(structures), STRUCTURE + COMPOSITION) else None


def _compute(part: _Part) -> np.ndarray:
    structures, file = part
    rows = np.stack([coverage_fingerprint(structure) for structure in structures])
    if file is not None:
        with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".tmp", delete=False) as partial:
            np.savez_compressed(partial, rows=rows)
        os.replace(partial.name, file)  # a reader never sees half a file
    return rows
