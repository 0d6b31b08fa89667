"""The jobs that a worker has at a time, and whether it may have more."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from rq.executions import Execution
from rq.job import Job

COUNTED = 64
"""Crystals that count of a job, however many it has: a few large jobs take turns by chunks."""
FULL = 512
"""Crystals at a time from which on only the most urgent jobs are taken: two batches, so that the
next one is there when the jobs of the last are still being checked and ended.
"""
RESERVED_SHARE = 8
"""One of so many places is kept for the most urgent jobs: they need not wait until another ends."""


@dataclass(frozen=True)
class RunningJob:
    """A job that the executor runs."""

    job: Job
    execution: Execution
    limit: float  # s; 0: none
    started: float = field(default_factory=time.monotonic)

    @property
    def crystals(self) -> int:
        """What it adds to a batch."""
        try:
            return min(int(self.job.args[0]["num_samples"]), COUNTED)
        except (LookupError, TypeError, ValueError):
            return 1  # it will fail

    def over_its_time(self, grace: float) -> bool:
        """Whether it runs so much longer than it may that it cannot have noticed."""
        return 0 < self.limit < time.monotonic() - self.started - grace


def queues_with_room(
    running: Sequence[RunningJob], queues: Sequence[str], max_concurrent_jobs: int
) -> Sequence[str]:
    """The queues from which one more job may be taken.

    What fills two batches is enough, because jobs wait better on their queues, where other workers
    see them; only the most urgent queue is served on, so that a bulk job keeps nobody waiting.
    """
    if len(running) >= max_concurrent_jobs:
        return ()
    reserved = max_concurrent_jobs // RESERVED_SHARE
    full = (
        sum(one.crystals for one in running) >= FULL
        or len(running) >= max_concurrent_jobs - reserved
    )
    return queues[:1] if full else queues
