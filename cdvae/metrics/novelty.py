"""Comparison of crystals with the training data by fingerprints, without the data."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from pymatgen.core.structure import Structure

from cdvae.data.process_map import Progress, parallel_map
from cdvae.metrics.fingerprint import NEIGHBORS, TOLERANCE, Fingerprint, fingerprint

KEYS, VECTORS = "novelty_keys", "novelty_vectors"


class NoveltyIndex:
    """Fingerprints of the training crystals, by reduced formula."""

    def __init__(self, known: Sequence[Fingerprint], tolerance: float = TOLERANCE) -> None:
        self.tolerance = tolerance
        self._size = len(known)
        by_formula: defaultdict[tuple[tuple[int, int], ...], list[np.ndarray]] = defaultdict(list)
        for entry in known:
            by_formula[entry.formula].append(entry.distances)
        self._known = {formula: np.stack(vectors) for formula, vectors in by_formula.items()}

    def __len__(self) -> int:
        return self._size

    def distance(self, entry: Fingerprint | None) -> float:
        """Return the difference to the nearest training crystal of the same reduced formula.

        It is infinite if there is none, and for None, which stands for atoms not separated.
        """
        known = None if entry is None else self._known.get(entry.formula)
        if entry is None or known is None:
            return float("inf")
        return float(np.abs(known - entry.distances).max(axis=(1, 2, 3)).min())

    def is_novel(self, entry: Fingerprint | None) -> bool:
        """Return True if no training crystal of the same formula is within the tolerance."""
        return self.distance(entry) > self.tolerance

    @classmethod
    def from_structures(
        cls,
        structures: Sequence[Structure],
        workers: int = 1,
        progress: Progress | None = None,
    ) -> "NoveltyIndex":
        """Return the index of these training crystals, computed by ``workers`` processes."""
        return cls(parallel_map(fingerprint, structures, workers, progress, chunk_size=256))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "NoveltyIndex":
        """Return the index that `to_arrays` stored; ValueError if the arrays disagree."""
        keys, vectors = arrays[KEYS], np.asarray(arrays[VECTORS], dtype=np.float32)
        formulas = [
            tuple((z, n) for z, n in zip(key[::2], key[1::2], strict=True) if z)
            for key in keys.tolist()
        ]
        ends = np.cumsum([len(formula) ** 2 * NEIGHBORS for formula in formulas], dtype=int)
        total = ends[-1] if len(ends) else 0
        if total != len(vectors):
            raise ValueError(f"{VECTORS} has {len(vectors)} numbers, {KEYS} accounts for {total}")
        parts = np.split(vectors, ends[:-1]) if formulas else []
        return cls(
            [
                Fingerprint(formula, part.reshape(len(formula), len(formula), NEIGHBORS))
                for formula, part in zip(formulas, parts, strict=True)
            ]
        )

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the index as two arrays.

        `novelty_keys` (M, 2K) int16 has the atomic number and the count of each element, padded
        with zeros. `novelty_vectors` float16 has the distances of all M crystals in a row.
        """
        width = 2 * max((len(formula) for formula in self._known), default=0)
        keys, vectors = [], [np.empty(0)]
        for formula, known in self._known.items():
            flat = [number for pair in formula for number in pair]
            keys += [flat + [0] * (width - len(flat))] * len(known)
            vectors.append(known.ravel())
        return {
            KEYS: np.array(keys, dtype=np.int16).reshape(len(keys), width),
            VECTORS: np.concatenate(vectors).astype(np.float16),
        }
