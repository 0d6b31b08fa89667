"""The jobs that a worker runs at a time, and the room for more."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from cdvae_service.jobstore.rq_adapter import AllowedJob, Execution

COUNTED = 64
"""The most crystals that count of one job: a few large jobs take turns by chunks."""
FULL = 512
"""From this number of crystals on, only the most urgent jobs are taken. It is two batches: one can
be sampled while the jobs of the other are analyzed and ended.
"""
RESERVED_SHARE = 8
"""One place of eight is kept for the most urgent jobs: they need not wait until another ends."""


@dataclass(frozen=True)
class RunningJob:
    """A job that the executor runs."""

    job: AllowedJob
    execution: Execution
    started: float = field(default_factory=time.monotonic)

    @property
    def crystals(self) -> int:
        """The crystals that the job adds to a batch."""
        try:
            return min(int(self.job.args[0]["num_samples"]), COUNTED)
        except (LookupError, TypeError, ValueError):
            return 1  # the job will fail

    def exceeds_limit(self, grace: float) -> bool:
        """Return whether the job ignored its time limit for `grace` seconds."""
        return 0 < self.job.time_limit < time.monotonic() - self.started - grace


def queues_with_room(
    running: Sequence[RunningJob], queues: Sequence[str], max_concurrent_jobs: int
) -> Sequence[str]:
    """Return the queues from which one more job may be taken.

    Jobs that fill two batches are enough: others wait better on their queues, where other workers
    see them. Jobs of the most urgent queue are still taken, so that none waits for a bulk job.
    """
    if len(running) >= max_concurrent_jobs:
        return ()
    reserved = max_concurrent_jobs // RESERVED_SHARE
    full = (
        sum(one.crystals for one in running) >= FULL
        or len(running) >= max_concurrent_jobs - reserved
    )
    return queues[:1] if full else queues
