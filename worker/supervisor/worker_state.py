"""The state machine of a worker."""

from __future__ import annotations

from enum import Enum, auto


class State(Enum):
    """The states of a worker."""

    LOADING = auto()
    """An executor loads its models. There are no running jobs."""
    IDLE = auto()
    """The executor is ready. There are no jobs."""
    RUNNING = auto()
    """The executor runs jobs; more are taken while there is room."""
    ISOLATING = auto()
    """A job that was lost with a process runs without other jobs, or waits until these end."""
    DRAINING = auto()
    """The worker was told to stop: running jobs may end, and no job is taken."""


TRANSITIONS: dict[State, frozenset[State]] = {
    State.LOADING: frozenset({State.IDLE, State.ISOLATING, State.DRAINING}),
    State.IDLE: frozenset({State.RUNNING, State.ISOLATING, State.LOADING, State.DRAINING}),
    State.RUNNING: frozenset({State.IDLE, State.ISOLATING, State.LOADING, State.DRAINING}),
    State.ISOLATING: frozenset({State.IDLE, State.LOADING, State.DRAINING}),
    State.DRAINING: frozenset(),
}
"""The states that may follow each state."""


def check_transition(before: State, after: State) -> None:
    """Raise RuntimeError unless `after` may follow `before`."""
    if after not in TRANSITIONS[before]:
        raise RuntimeError(f"a worker cannot go from {before.name} to {after.name}")
