"""Chunks, candidates, starts and percentiles."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.tasks.work_division import Work, draw_starts, percentile, source_and_candidate

sizes = st.lists(st.integers(1, 50), min_size=1, max_size=20)


def work(chunk_sizes: list[int]) -> Work:
    edges = np.cumsum([0, *chunk_sizes]).tolist()
    return Work(edges[-1], tuple(range(*pair) for pair in itertools.pairwise(edges)))


@given(sizes, st.integers(1, 30))
def test_fraction_rises_from_zero_to_one(chunk_sizes: list[int], levels: int) -> None:
    job = work(chunk_sizes)
    fractions = [
        job.fraction(chunk, level, levels)
        for chunk in range(len(job.chunks))
        for level in range(levels + 1)
    ]
    assert fractions[0] == 0
    assert fractions[-1] == 1
    assert fractions == sorted(fractions)


@pytest.mark.parametrize(
    ("total", "chunks"),
    [
        (3, (range(0, 2),)),
        (3, (range(0, 2), range(1, 3))),
        (3, (range(1, 3), range(0, 1))),
        (2, (range(0, 0), range(0, 2))),
        (4, (range(0, 4, 2),)),
        (1, ()),
    ],
)
def test_chunks_that_are_not_the_whole_are_refused(total: int, chunks: tuple[range, ...]) -> None:
    with pytest.raises(ValueError, match="chunk"):
        Work(total, chunks)


@given(st.integers(1, 20), st.integers(1, 20))
def test_every_candidate_of_every_input_has_one_index(inputs: int, candidates: int) -> None:
    places = [source_and_candidate(index, candidates) for index in range(inputs * candidates)]
    assert places == [(i, c) for i in range(inputs) for c in range(candidates)]


@given(st.integers(1, 40), st.integers(0, 100), st.integers(0, 2**53 - 1))
def test_starts_are_spread_evenly_and_begin_the_same(
    available: int, number: int, seed: int
) -> None:
    starts = draw_starts(available, number, seed)
    assert len(starts) == number
    counts = [starts.count(i) for i in range(available)]
    assert max(counts) - min(counts) <= 1
    assert draw_starts(available, number + 7, seed)[:number] == starts


def test_starts_depend_on_the_seed() -> None:
    assert draw_starts(1000, 10, 1) != draw_starts(1000, 10, 2)


def test_nothing_to_start_from() -> None:
    with pytest.raises(ValueError, match="nothing"):
        draw_starts(0, 1, 0)


@given(st.floats(-4, 4))
def test_percentile_is_the_share_of_the_data_at_or_below(value: float) -> None:
    data = np.random.default_rng(0).normal(size=100_000)
    quantiles = np.quantile(data, np.linspace(0, 1, 101)).tolist()
    assert percentile(value, quantiles) == pytest.approx(100 * np.mean(data <= value), abs=0.6)


def test_percentile_counts_repeated_values_as_reached() -> None:
    # Most band gaps are 0: a crystal with 0 reaches all of them.
    assert percentile(0.0, [0.0, 0.0, 0.0, 1.0, 2.0]) == 50.0
    assert percentile(-0.1, [0.0, 1.0]) == 0.0
    assert percentile(2.0, [0.0, 1.0]) == 100.0
