"""The space group and the orbits of a crystal as a sequence of choices.

The elements come in the order of `elements_in_order`, and the positions of each element ascend, so
each assignment of sites has one sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from cdvae.prior.composition_prior import elements_in_order
from cdvae.symmetry.group_cells import Group
from cdvae.symmetry.site_solver import fits, position_number


@dataclass(frozen=True)
class Orbit:
    """The atoms of one element on one site and its images."""

    atomic_number: int
    position: int  # index into the positions of the space group


@dataclass(frozen=True)
class SiteChoice:
    """The space group of a crystal and the orbits of its elements."""

    spacegroup: int
    orbits: tuple[Orbit, ...]  # in the order of `elements_in_order`, positions ascending
    log_metric: Tensor  # (6,) of the cell to expect in the axes of the group


@dataclass(frozen=True)
class SiteSequences:
    """B crystals as tokens: their elements, then what is chosen of the group and the orbits."""

    elements: Tensor  # (B, E) int64 atomic numbers in order, 0 for padding
    shares: Tensor  # (B, E) int64 atoms of each
    spacegroup: Tensor  # (B,) int64
    chosen: Tensor  # (B, T) int64 `position_number` of each orbit, 0 for padding
    chosen_element: Tensor  # (B, T) int64 atomic number of each orbit
    next_element: Tensor  # (B, T + 1) int64 atomic number of the next orbit, 0 at the end
    next_left: Tensor  # (B, T + 1) int64 its atoms that have no site yet


def site_sequences(
    counts: Tensor, spacegroup: Tensor, orbits: Sequence[Sequence[Orbit]]
) -> SiteSequences:
    """Return the sequences of compositions ``counts`` (B, Z) with known groups and orbits."""
    states = []
    for row, shares in enumerate(shares_of_elements(counts)):
        state = SiteState(shares, int(spacegroup[row]))
        place = {number: i for i, (number, _) in enumerate(shares)}
        for orbit in sorted(orbits[row], key=lambda o: (place[o.atomic_number], o.position)):
            state.add(orbit.position)
        states.append(state)
    return as_sequences(states)


def shares_of_elements(counts: Tensor) -> list[list[tuple[int, int]]]:
    """Return (atomic number, atoms) of each element of ``counts`` (B, Z), in order."""
    shares, elements = elements_in_order(counts)
    return [
        [(element + 1, atoms) for element, atoms in zip(*row, strict=True) if atoms]
        for row in zip(elements.tolist(), shares.tolist(), strict=True)
    ]


class SiteState:
    """A crystal whose orbits are chosen one after the other."""

    def __init__(self, elements: Sequence[tuple[int, int]], spacegroup: int) -> None:
        """Start with ``elements`` (atomic number, atoms) in order."""
        self.elements, self.spacegroup = list(elements), spacegroup
        self.orbits: list[Orbit] = []
        self.left: list[int] = [self.elements[0][1]]
        self.turns: list[int] = [0]
        self._used = 0

    @property
    def done(self) -> bool:
        """Whether all atoms have sites."""
        return self.turns[-1] == len(self.elements)

    def add(self, position: int) -> None:
        """Put the next orbit of the present element on ``position``."""
        turn, sites = self.turns[-1], _rules(self.spacegroup)
        self.orbits.append(Orbit(self.elements[turn][0], position))
        left = self.left[-1] - sites.multiplicity[position]
        if not sites.free[position]:
            self._used |= 1 << position
        if left == 0:
            turn += 1
            left = self.elements[turn][1] if turn < len(self.elements) else 0
        self.turns.append(turn)
        self.left.append(left)

    def allowed(self) -> list[int]:
        """Return the positions that the next orbit may take so that all atoms find sites."""
        turn = self.turns[-1]
        rest = tuple(sorted(n for _, n in self.elements[turn + 1 :]))
        first = 0
        if self.orbits and self.turns[-2] == turn:
            first = self.orbits[-1].position
        rules = _rules(self.spacegroup)
        return [i for i, _, _ in rules.options(self.left[-1], first, self._used, rest)]

    def choice(self, log_metric: Tensor) -> SiteChoice:
        """Return the sites of the crystal, with the ``log_metric`` (6,) of the cell to expect."""
        return SiteChoice(self.spacegroup, tuple(self.orbits), log_metric)


class _SiteRules:
    """Which positions of a space group may be filled after others."""

    def __init__(self, number: int) -> None:
        positions = Group.of(number).positions
        self.multiplicity = [one.multiplicity for one in positions]
        self.free = [one.free for one in positions]
        self.free_sizes = tuple(
            sorted({m for m, f in zip(self.multiplicity, self.free, strict=True) if f})
        )
        self._possible = lru_cache(maxsize=100_000)(self._completable)

    def options(
        self, left: int, first: int, used: int, rest: tuple[int, ...]
    ) -> list[tuple[int, int, int]]:
        """Return (position, atoms left, positions used) of each possible next orbit.

        Args:
            left: atoms of the element without a site.
            first: the lowest position allowed.
            used: bits of the fixed positions that are filled.
            rest: atoms of the elements that follow, ascending.
        """
        found = []
        for index in range(first, len(self.multiplicity)):
            size, taken = self.multiplicity[index], used
            if size > left or used >> index & 1:
                continue
            if not self.free[index]:
                taken |= 1 << index
            if self._possible(left - size, index, taken, rest):
                found.append((index, left - size, taken))
        return found

    def _completable(self, left: int, first: int, used: int, rest: tuple[int, ...]) -> bool:
        if left:
            return bool(self.options(left, first, used, rest))
        sizes: dict[int, int] = {}
        for index, size in enumerate(self.multiplicity):
            if not self.free[index] and not used >> index & 1:
                sizes[size] = sizes.get(size, 0) + 1
        return fits(rest, tuple(sorted(sizes.items())), self.free_sizes)


@cache
def _rules(number: int) -> _SiteRules:
    return _SiteRules(number)


def as_sequences(states: Sequence[SiteState]) -> SiteSequences:
    """Return the sequences of crystals, finished or not."""

    def padded(rows: list[list[int]]) -> Tensor:
        return pad_sequence(
            [torch.tensor(row, dtype=torch.int64) for row in rows], batch_first=True
        )

    upcoming = [
        [state.elements[t][0] if t < len(state.elements) else 0 for t in state.turns]
        for state in states
    ]
    return SiteSequences(
        padded([[z for z, _ in state.elements] for state in states]),
        padded([[n for _, n in state.elements] for state in states]),
        torch.tensor([state.spacegroup for state in states]),
        padded([[position_number(s.spacegroup, o.position) for o in s.orbits] for s in states]),
        padded([[o.atomic_number for o in s.orbits] for s in states]),
        padded(upcoming),
        padded([state.left for state in states]),
    )
