"""Progress of a running job and requests to stop it; see `worker.executor.redis_sync`."""

from __future__ import annotations

import time
from collections.abc import Callable

from cdvae.errors import Cancelled
from cdvae_service.jobstore.ledger import LeaseLostError

# The share of a job's time that each stage is taken to need, in order; see `JobControl.stage`.
# Relaxing a crystal takes seconds, sampling one a fraction of that.
SHARES = {"starting": 0.0, "optimizing": 0.95, "sampling": 0.95, "relax": 9.0, "finishing": 0.05}


class JobControl:
    """Progress and cancellation of one job; nothing here waits for Redis.

    stages: the names of the stages that the job goes through, in order (keys of SHARES).
    """

    def __init__(
        self,
        job_id: str,
        total: int,
        stages: tuple[str, ...],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.job_id = job_id
        self.done = 0
        self.lost = False
        self._total = total
        self._stages = stages
        self._clock = clock
        self._started = clock()
        self._stage = stages[0]
        self._fraction = 0.0
        self._stop_reason: Exception | None = None

    def stage(self, name: str) -> None:
        """Begin a stage."""
        self._stage = name
        self._reach(0.0)

    def crystals_done(self, number: int) -> None:
        """`number` more crystals are stored."""
        self.done += number

    def level(self, part: float) -> None:
        """`part` of the current stage is done; raises what `check` raises."""
        self._reach(part)
        self.check()

    def finish(self, number: int) -> None:
        """All is done: `number` crystals are stored."""
        self.done = number
        self._fraction = 1.0

    def check(self) -> None:
        """Raise Cancelled if somebody wants the job to stop, LeaseLostError if it is not ours."""
        if self._stop_reason is not None:
            raise self._stop_reason

    def update(self, *, cancel: bool, ours: bool) -> None:
        """What Redis says: whether the job shall stop, and whether this worker has its lease."""
        if not ours:
            self.lost = True
            self._stop_reason = LeaseLostError(f"job {self.job_id}")
        elif cancel:
            self._stop_reason = Cancelled(f"job {self.job_id}")

    def progress(self) -> dict[str, str]:
        """How far the job is, as Redis has it."""
        return {
            "fraction": f"{self._fraction:.4f}",
            "stage": self._stage,
            "samples_done": str(self.done),
            "samples_total": str(self._total),
        }

    def eta_seconds(self) -> str:
        """Seconds that the rest may take; empty where nothing is done yet."""
        elapsed = self._clock() - self._started
        if self._fraction <= 0.0:
            return ""
        return f"{elapsed * (1 - self._fraction) / self._fraction:.1f}"

    def _reach(self, part: float) -> None:
        weight = sum(SHARES[name] for name in self._stages)
        before = self._stages[: self._stages.index(self._stage)]
        reached = sum(SHARES[name] for name in before) + SHARES[self._stage] * part
        self._fraction = max(self._fraction, min(1.0, reached / weight))
