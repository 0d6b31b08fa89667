"""How a job is divided: chunks of crystals, candidates of inputs, starts. Pure functions."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """The crystals 0 … total-1 of a job, in `chunks` that are decoded one after another.

    Raises ValueError when the chunks are not consecutive, not empty and complete.
    """

    total: int
    chunks: tuple[range, ...]

    def __post_init__(self) -> None:
        expected = 0
        for chunk in self.chunks:
            if chunk.start != expected or chunk.step != 1 or len(chunk) == 0:
                raise ValueError(f"chunk {chunk} where one from {expected} is expected")
            expected = chunk.stop
        if expected != self.total:
            raise ValueError(f"chunks for {expected} of {self.total} crystals")

    def fraction(self, chunk: int, level: int, levels: int) -> float:
        """The part of the work that is done when `chunk` has done `level` of its `levels`."""
        crystals = self.chunks[chunk]
        return (crystals.start + len(crystals) * level / levels) / self.total


def resumed(chunks: Sequence[range], finished: Sequence[range]) -> tuple[range, ...]:
    """The division of a job of which the chunks `finished` are there: these, then the rest.

    Another device may divide otherwise; then its chunk in which the finished ones end is cut.
    """
    done = finished[-1].stop if finished else 0
    rest = (range(max(chunk.start, done), chunk.stop) for chunk in chunks if chunk.stop > done)
    return (*finished, *rest)


def source_and_candidate(index: int, num_candidates: int) -> tuple[int, int]:
    """The input that crystal `index` reconstructs and the number of the candidate, from 0."""
    return divmod(index, num_candidates)


def draw_starts(available: int, number: int, seed: int) -> list[int]:
    """`number` of the indices 0 … available-1 in an order drawn by `seed`.

    None comes twice before all have come once, so that a small draw is a fair sample of the data
    and a larger one of the same seed begins with the smaller one.
    """
    if available < 1:
        raise ValueError("nothing to draw from")
    generator = random.Random(seed)
    order: list[int] = []
    while len(order) < number:
        order.extend(generator.sample(range(available), available))
    return order[:number]


def percentile(value: float, quantiles: Sequence[float]) -> float:
    """The percentage of the data at or below `value`, in [0, 100].

    quantiles: ascending, evenly spaced from the minimum to the maximum of the data; in between
    the distribution is taken as linear.
    """
    reached = sum(1 for quantile in quantiles if quantile <= value)
    if reached == 0:
        return 0.0
    if reached == len(quantiles):
        return 100.0
    below, above = quantiles[reached - 1], quantiles[reached]
    return 100.0 * (reached - 1 + (value - below) / (above - below)) / (len(quantiles) - 1)
