"""What flows between a running job and its client: progress out, the wish to cancel in."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from cdvae.errors import Cancelled
from schema.wire import CANCEL_TTL, CHANGED_CHANNEL, LEASES_KEY, cancel_key, progress_key

log = logging.getLogger(__name__)

PROGRESS_EVERY = 0.2  # s
CHECK_EVERY = 0.2  # s between two looks for a wish to cancel
OUTAGE_SECONDS = 2.0  # s without Redis before it is tried again
# The share of a job's time that each stage is taken to need, in order; see `Control.stage`.
# Relaxing a crystal takes seconds, sampling one a fraction of that.
SHARES = {"starting": 0.0, "optimizing": 0.95, "sampling": 0.95, "relax": 9.0, "finishing": 0.05}


class LeaseLostError(Exception):
    """Somebody else has the job now, because this worker was taken for dead."""


class Control:
    """Progress and cancellation of one job. A Redis that does not answer never stops a job.

    worker: who runs the job; stages: the names of the stages that the job goes through, in order
    (keys of SHARES).
    """

    def __init__(
        self,
        connection: Redis,
        job_id: str,
        worker: str,
        total: int,
        stages: tuple[str, ...],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = connection
        self._job_id = job_id
        self._worker = worker.encode()
        self._total = total
        self._stages = stages
        self._clock = clock
        self._started = clock()
        self._written = self._checked = float("-inf")
        self._silent_until = float("-inf")
        self._stage = stages[0]
        self._fraction = 0.0
        self.done = 0

    def stage(self, name: str) -> None:
        """Begin a stage."""
        self._stage = name
        self.update(0.0, now=True)

    def crystals_done(self, number: int) -> None:
        """`number` more crystals are stored."""
        self.done += number
        if number:
            self._write()

    def update(self, part: float, *, now: bool = False) -> None:
        """`part` of the current stage is done; if new, written a few times a second, or `now`."""
        weight = sum(SHARES[name] for name in self._stages)
        before = self._stages[: self._stages.index(self._stage)]
        reached = sum(SHARES[name] for name in before) + SHARES[self._stage] * part
        fraction = max(self._fraction, min(1.0, reached / weight))
        due = fraction > self._fraction and self._clock() - self._written >= PROGRESS_EVERY
        self._fraction = fraction
        if now or due:
            self._write()

    def level(self, part: float) -> None:
        """Like `update`, and like `check` a few times a second: levels may take milliseconds."""
        if self._clock() - self._checked >= CHECK_EVERY:
            self._checked = self._clock()
            self.check()
        self.update(part)

    def finish(self, number: int) -> None:
        """All is done: `number` crystals are stored."""
        self.done = number
        self._fraction = 1.0
        self._write()

    def check(self) -> None:
        """Raise Cancelled if somebody wants the job to stop, LeaseLostError if it is not ours."""
        if self._clock() < self._silent_until:
            return
        try:
            with self._connection.pipeline(transaction=False) as pipeline:
                pipeline.exists(cancel_key(self._job_id))
                pipeline.hget(LEASES_KEY, self._job_id)
                wanted, holder = pipeline.execute()
        except RedisError as error:
            self._outage(error)
            return
        if holder != self._worker:
            raise LeaseLostError(f"job {self._job_id}")
        if wanted:
            raise Cancelled(f"job {self._job_id}")

    def _outage(self, error: RedisError) -> None:
        # Every call would wait for its time limit, and the job is called at every noise level.
        log.warning("goes on without Redis: %s", error)
        self._silent_until = self._clock() + OUTAGE_SECONDS

    def _eta(self) -> str:
        elapsed = self._clock() - self._started
        if self._fraction <= 0.0:
            return ""
        return f"{elapsed * (1 - self._fraction) / self._fraction:.1f}"

    def _write(self) -> None:
        self._written = self._clock()
        if self._written < self._silent_until:
            return
        key = progress_key(self._job_id)
        values: Mapping[Any, str] = {
            "fraction": f"{self._fraction:.4f}",
            "stage": self._stage,
            "samples_done": str(self.done),
            "samples_total": str(self._total),
            "eta_seconds": self._eta(),
        }
        try:
            with self._connection.pipeline(transaction=False) as pipeline:
                pipeline.hset(key, mapping=values)
                pipeline.expire(key, CANCEL_TTL)
                pipeline.publish(CHANGED_CHANNEL, self._job_id)
                pipeline.execute()
        except RedisError as error:
            self._outage(error)
