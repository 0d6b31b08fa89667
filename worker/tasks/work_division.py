"""The division of a job: chunks of crystals, candidates of inputs, starts. Pure functions."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """The crystals 0 … total-1 of a job, in `chunks` that are decoded one after another.

    Raises ValueError unless the chunks are consecutive, complete and not empty.
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
        """Return the part of the work that is done after `level` of the `levels` of `chunk`."""
        crystals = self.chunks[chunk]
        return (crystals.start + len(crystals) * level / levels) / self.total


def resumed(chunks: Sequence[range], finished: Sequence[range]) -> tuple[range, ...]:
    """Return the division of a job whose chunks `finished` are stored: these, then the rest.

    Another device may divide the job differently; the chunk in which the finished ones end is then
    cut.
    """
    done = finished[-1].stop if finished else 0
    rest = (range(max(chunk.start, done), chunk.stop) for chunk in chunks if chunk.stop > done)
    return (*finished, *rest)


def source_and_candidate(index: int, num_candidates: int) -> tuple[int, int]:
    """Return the input that crystal `index` reconstructs, and the candidate's number from 0."""
    return divmod(index, num_candidates)


def draw_starts(available: int, number: int, seed: int) -> list[int]:
    """Return `number` of the indices 0 … available-1 in an order drawn by `seed`.

    An index is repeated only after all have been drawn: a small draw is a fair sample of the data,
    and a larger draw of the same seed begins with it.
    """
    if available < 1:
        raise ValueError("nothing to draw from")
    generator = random.Random(seed)
    order: list[int] = []
    while len(order) < number:
        order.extend(generator.sample(range(available), available))
    return order[:number]


def percentile(value: float, quantiles: Sequence[float]) -> float:
    """Return the percentage of the data at or below `value`, in [0, 100].

    quantiles: ascending, evenly spaced from the minimum to the maximum of the data; values between
    them are interpolated.
    """
    reached = sum(1 for quantile in quantiles if quantile <= value)
    if reached == 0:
        return 0.0
    if reached == len(quantiles):
        return 100.0
    below, above = quantiles[reached - 1], quantiles[reached]
    return 100.0 * (reached - 1 + (value - below) / (above - below)) / (len(quantiles) - 1)
