"""When a process has more to do than it can, and how many requests it lets in then."""

import asyncio
import time
from contextlib import ExitStack

import pytest

from app.http.concurrency import CROWDED, CROWDED_TURN, LOOKS, SLOW_TURN, Gate

MOST = 2 * CROWDED


def let_in(gate: Gate) -> int:
    """How many of more requests than it takes a gate lets in at once."""
    with ExitStack() as stack:
        return sum(stack.enter_context(gate.admitted()) for _ in range(2 * MOST))


def turns(gate: Gate, seconds: float, number: int) -> Gate:
    for _ in range(number):
        gate.note_turn(seconds)
    return gate


def test_a_crowd_that_stays_is_thinned_out_until_it_has_passed() -> None:
    gate = Gate(MOST, 0)
    assert let_in(turns(gate, 2 * SLOW_TURN, LOOKS - 1)) == MOST
    assert let_in(turns(gate, 2 * SLOW_TURN, 1)) == CROWDED
    # With fewer requests at once turns are shorter, and the crowd is there all the same.
    assert let_in(turns(gate, (CROWDED_TURN + SLOW_TURN) / 2, 10 * LOOKS)) == CROWDED
    assert let_in(turns(gate, CROWDED_TURN / 2, LOOKS - 1)) == CROWDED
    assert let_in(turns(gate, CROWDED_TURN / 2, 1)) == MOST


def test_the_log_says_when_fewer_are_let_in_and_when_it_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate = turns(Gate(MOST, 0), 2 * SLOW_TURN, 3 * LOOKS)
    assert [record.getMessage() for record in caplog.records] == [
        f"more requests than can be answered: {CROWDED} at once from now on"
    ]
    turns(gate, 0.0, 3 * LOOKS)
    assert [record.getMessage() for record in caplog.records[1:]] == [
        f"requests are answered in time again: {MOST} at once"
    ]


def test_bursts_are_let_in() -> None:
    gate = Gate(MOST, 0)
    for _ in range(10):
        turns(gate, 2 * SLOW_TURN, LOOKS // 2)
        assert let_in(turns(gate, SLOW_TURN / 2, LOOKS // 2)) == MOST


def test_a_gate_that_is_narrower_than_a_crowd_stays_so() -> None:
    assert let_in(turns(Gate(3, 0), 2 * SLOW_TURN, LOOKS)) == 3


def test_a_look_measures_the_turn_of_the_event_loop() -> None:
    async def looks(busy: bool) -> int:
        gate, loop = Gate(MOST, 0), asyncio.get_running_loop()

        def work() -> None:
            time.sleep(2 * SLOW_TURN)
            loop.call_soon(work)

        if busy:
            loop.call_soon(work)
        for _ in range(LOOKS):
            await gate.look()
        return let_in(gate)

    assert asyncio.run(looks(busy=True)) == CROWDED
    assert asyncio.run(looks(busy=False)) == MOST
