"""The ways to divide the atoms of a cell among its elements."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Stoichiometry = tuple[int, ...]
"""Atoms of each element of a formula, in falling order."""


def falling(counts: Iterable[int]) -> Stoichiometry:
    """Return ``counts`` in falling order."""
    return tuple(sorted(counts, reverse=True))


def partitions(n: int, largest: int, parts: int) -> Iterator[Stoichiometry]:
    """Yield every way to write ``n`` as at most ``parts`` falling numbers up to ``largest``."""
    if n == 0:
        yield ()
        return
    for first in range(min(n, largest), 0, -1):
        if first * parts < n:
            break
        for rest in partitions(n - first, first, parts - 1):
            yield (first, *rest)
