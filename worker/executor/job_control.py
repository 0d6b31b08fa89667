"""Progress of a running job and requests to stop it; see `worker.executor.redis_sync`."""

from __future__ import annotations

import time
from collections.abc import Callable

from cdvae.errors import Cancelled
from cdvae_service.jobstore.ledger import LeaseLostError

# The assumed share of each stage in a job's time; see `JobControl.stage`. To relax a crystal takes
# seconds, to sample one a fraction of that.
SHARES = {"starting": 0.0, "optimizing": 0.95, "sampling": 0.95, "relax": 9.0, "finishing": 0.05}


class JobControl:
    """Progress and cancellation of one job; nothing here waits for Redis.

    stages: the names of the job's stages, in order (keys of SHARES).
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
        """Record that `number` more crystals are stored."""
        self.done += number

    def level(self, part: float) -> None:
        """Record that `part` of the current stage is done; raises the errors of `check`."""
        self._reach(part)
        self.check()

    def finish(self, number: int) -> None:
        """Record that the job is done and `number` crystals are stored."""
        self.done = number
        self._fraction = 1.0

    def check(self) -> None:
        """Raise Cancelled after a cancellation, LeaseLostError if another worker has the job."""
        if self._stop_reason is not None:
            raise self._stop_reason

    def update(self, *, cancel: bool, ours: bool) -> None:
        """Take the state in Redis: whether the job is cancelled, and has its lease here."""
        if not ours:
            self.lost = True
            self._stop_reason = LeaseLostError(f"job {self.job_id}")
        elif cancel:
            self._stop_reason = Cancelled(f"job {self.job_id}")

    def progress(self) -> dict[str, str]:
        """Return the progress in the form that Redis holds."""
        return {
            "fraction": f"{self._fraction:.4f}",
            "stage": self._stage,
            "samples_done": str(self.done),
            "samples_total": str(self._total),
        }

    def eta_seconds(self) -> str:
        """Return the estimated time to the end, s; empty before the first progress."""
        elapsed = self._clock() - self._started
        if self._fraction <= 0.0:
            return ""
        return f"{elapsed * (1 - self._fraction) / self._fraction:.1f}"

    def _reach(self, part: float) -> None:
        weight = sum(SHARES[name] for name in self._stages)
        before = self._stages[: self._stages.index(self._stage)]
        reached = sum(SHARES[name] for name in before) + SHARES[self._stage] * part
        self._fraction = max(self._fraction, min(1.0, reached / weight))
