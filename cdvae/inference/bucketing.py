"""Batches of crystals of one size, and their common progress."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction

from cdvae.diffusion.samplers.sampler import OnLevel

ROWS = 4
"""Batches are padded to a multiple of this number of rows.

From four rows on, a matrix product rounds each row in the same way for any number of rows. So the
bits of a crystal do not depend on the rest of its batch.
"""


def pad_to_multiple(rows: Sequence[int]) -> list[int]:
    """Return ``rows``, with the last one repeated up to a multiple of ROWS."""
    return [*rows, *[rows[-1]] * (-len(rows) % ROWS)]


def ranges(n: int, size: int) -> list[range]:
    """Return ranges of at most ``size`` numbers that cover ``range(n)``."""
    return [range(first, min(first + size, n)) for first in range(0, n, size)]


def bucket_by_size(num_atoms: Sequence[int], atoms: int) -> list[list[int]]:
    """Return batches of crystals with the same number of atoms, about ``atoms`` in each.

    Such a batch needs no padding, and no crystal waits for a larger one. Large batches come first,
    so that the threads end at about the same time.
    """
    rows = defaultdict(list)
    for row, n in enumerate(num_atoms):
        rows[n].append(row)
    batches = [
        [group[i] for i in part]
        for n, group in rows.items()
        for part in ranges(len(group), max(1, atoms // n))
    ]
    return sorted(batches, key=lambda batch: -len(batch) * num_atoms[batch[0]] ** 2)


class Levels:
    """Counts the noise levels of batches that run in several threads.

    The batches belong to attempt number ``run`` of at most ``runs``. They may have different
    numbers of levels, and each batch counts the same.
    """

    def __init__(self, batches: int, on_level: OnLevel | None, run: int, runs: int) -> None:
        self._batches, self._on_level, self._run, self._runs = batches, on_level, run, runs
        self._done, self._lock = Fraction(0), threading.Lock()  # batches

    def one_more(self, level: int, levels: int) -> None:
        """Count one of the ``levels`` of a batch and report the progress in units of a level."""
        if self._on_level:
            with self._lock:
                self._done += Fraction(1, levels)
                done = self._run * self._batches + self._done
                self._on_level(int(done * levels), self._runs * self._batches * levels)
