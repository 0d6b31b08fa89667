"""Assignment of atoms to Wyckoff positions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from cdvae.symmetry.site_solver import Stoichiometry, fits, is_sum, uses
from cdvae.symmetry.wyckoff import Position


def multiplicities(positions: Sequence[Position]) -> tuple[Counter[int], tuple[int, ...]]:
    """Return the fixed positions, counted by multiplicity, and the free multiplicities."""
    fixed = Counter(one.multiplicity for one in positions if not one.free)
    return fixed, tuple(sorted({one.multiplicity for one in positions if one.free}))


def has_sites(positions: Sequence[Position], shares: Stoichiometry) -> bool:
    """Return True if elements with these numbers of atoms fill whole positions."""
    fixed, free = multiplicities(positions)
    return fits(tuple(sorted(shares)), tuple(sorted(fixed.items())), free)


def draw_sites(
    positions: Sequence[Position], shares: Stoichiometry, rng: np.random.Generator
) -> list[list[int]]:
    """Return random positions, by index, for each element; positions with freedom may repeat.

    Every possible assignment can occur.

    Raises:
        ValueError: there is no assignment (see :func:`has_sites`).
    """
    fixed, free = multiplicities(positions)
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
        left = tuple(sorted((m, len(numbers)) for m, numbers in unused.items()))
        options = [
            (use, after)
            for use, after in uses(shares[element], left, free)
            if fits(rest, after, free)
        ]
        if not options:
            raise ValueError(f"no sites for {shares} atoms")
        use, _ = options[rng.integers(len(options))]
        taken = [unused[m].pop() for m, number in use for _ in range(number)]
        atoms = shares[element] - sum(m * number for m, number in use)
        while atoms:
            sizes = [m for m in free if m <= atoms and is_sum(atoms - m, free)]
            size = sizes[rng.integers(len(sizes))]
            places = [i for i, p in enumerate(positions) if p.free and p.multiplicity == size]
            taken.append(places[rng.integers(len(places))])
            atoms -= size
        chosen[element] = taken
    return [chosen[i] for i in range(len(shares))]
