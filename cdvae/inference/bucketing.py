"""Which crystals are computed together, and how far they have come together."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction

from cdvae.diffusion.samplers.sampler import OnLevel

ROWS = 4
"""Batches are filled up to a multiple of this many rows.

From four rows on a matrix product rounds each row in the same way, however many there are. So the
bits of a crystal do not depend on what shares its batch.
"""


def pad_to_multiple(rows: Sequence[int]) -> list[int]:
    """``rows`` and the last one again until they are a multiple of ROWS."""
    return [*rows, *[rows[-1]] * (-len(rows) % ROWS)]


def ranges(n: int, size: int) -> list[range]:
    """Ranges of at most ``size`` numbers that cover ``range(n)``."""
    return [range(first, min(first + size, n)) for first in range(0, n, size)]


def bucket_by_size(num_atoms: Sequence[int], atoms: int) -> list[list[int]]:
    """Rows of crystals with the same number of atoms, about ``atoms`` in a batch.

    Nothing is padded in such a batch, and no crystal waits for a larger one. Large batches come
    first, so that threads end at about the same time.
    """
    rows = defaultdict(list)
    for row, n in enumerate(num_atoms):
        rows[n].append(row)
    batches = [
        [own[i] for i in part]
        for n, own in rows.items()
        for part in ranges(len(own), max(1, atoms // n))
    ]
    return sorted(batches, key=lambda own: -len(own) * num_atoms[own[0]] ** 2)


class Levels:
    """Counts the noise levels of several batches; each may come from a thread of its own.

    They are those of run number ``run`` of at most ``runs``. Batches may have different numbers of
    levels: every batch counts the same, and progress is reported in PARTS of a batch.
    """

    PARTS = 1000

    def __init__(self, batches: int, on_level: OnLevel | None, run: int, runs: int) -> None:
        self._batches, self._on_level, self._run, self._runs = batches, on_level, run, runs
        self._done, self._lock = Fraction(0), threading.Lock()

    def one_more(self, level: int, levels: int) -> None:
        """A batch has done one of its ``levels``."""
        if self._on_level:
            with self._lock:
                self._done += Fraction(1, levels)
                done = min(self._run * self._batches + self._done, self._runs * self._batches)
                self._on_level(int(done * self.PARTS), self._runs * self._batches * self.PARTS)
