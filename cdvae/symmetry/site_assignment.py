"""Which atoms take which Wyckoff positions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from cdvae.symmetry.wyckoff import Position

Stoichiometry = tuple[int, ...]
"""Atoms of each element in the cell."""
_Fixed = tuple[tuple[int, int], ...]
"""(multiplicity, how many positions) of those without freedom: each holds its atoms once."""


def has_sites(positions: Sequence[Position], shares: Stoichiometry) -> bool:
    """Whether atoms shared so among elements fill whole positions, without sharing a site."""
    fixed = Counter(one.multiplicity for one in positions if not one.free)
    free = tuple(sorted({one.multiplicity for one in positions if one.free}))
    return _fits(tuple(sorted(shares)), tuple(sorted(fixed.items())), free)


def draw_sites(
    positions: Sequence[Position], shares: Stoichiometry, rng: np.random.Generator
) -> list[list[int]]:
    """For each element the numbers of the positions it takes, with those with freedom repeated.

    Every assignment that is possible may come, the multiplicities of each element at random.
    ValueError where ``has_sites`` says that there is none.
    """
    fixed = Counter(one.multiplicity for one in positions if not one.free)
    free = tuple(sorted({one.multiplicity for one in positions if one.free}))
    order = rng.permutation(len(shares)).tolist()
    chosen: dict[int, list[int]] = {}
    unused = {
        m: rng.permutation(
            [i for i, p in enumerate(positions) if p.multiplicity == m and not p.free]
        )
        .astype(int)
        .tolist()
        for m in fixed
    }
    for place, element in enumerate(order):
        rest = tuple(sorted(shares[i] for i in order[place + 1 :]))
        left = tuple(sorted((m, len(own)) for m, own in unused.items()))
        options = [
            (use, after)
            for use, after in _uses(shares[element], left, free)
            if _fits(rest, after, free)
        ]
        if not options:
            raise ValueError(f"no sites for {shares} atoms")
        use, _ = options[rng.integers(len(options))]
        own = [unused[m].pop() for m, number in use for _ in range(number)]
        atoms = shares[element] - sum(m * number for m, number in use)
        while atoms:
            sizes = [m for m in free if m <= atoms and _sums(atoms - m, free)]
            size = sizes[rng.integers(len(sizes))]
            places = [i for i, p in enumerate(positions) if p.free and p.multiplicity == size]
            own.append(places[rng.integers(len(places))])
            atoms -= size
        chosen[element] = own
    return [chosen[i] for i in range(len(shares))]


@lru_cache(maxsize=100_000)
def _fits(shares: Stoichiometry, fixed: _Fixed, free: tuple[int, ...]) -> bool:
    if not shares:
        return True
    uses = _uses(shares[-1], fixed, free)
    return any(_fits(shares[:-1], after, free) for _, after in uses)


def _uses(atoms: int, fixed: _Fixed, free: tuple[int, ...]) -> Iterator[tuple[_Fixed, _Fixed]]:
    """How many of the fixed positions an element with ``atoms`` may take, and what is left then."""
    if not fixed:
        if _sums(atoms, free):
            yield (), ()
        return
    (size, number), *others = fixed
    for taken in range(min(number, atoms // size) + 1):
        for use, after in _uses(atoms - taken * size, tuple(others), free):
            yield ((size, taken), *use), ((size, number - taken), *after)


@lru_cache(maxsize=10_000)
def _sums(atoms: int, sizes: tuple[int, ...]) -> bool:
    """Whether ``atoms`` is a sum of ``sizes``, each as often as need be."""
    return atoms == 0 or any(m <= atoms and _sums(atoms - m, sizes) for m in sizes)
