"""A worker's entries in RQ: its registration, its heartbeat and the executions of its jobs."""

from __future__ import annotations

from collections.abc import Sequence

from redis import Redis
from rq.executions import Execution
from rq.worker import WorkerStatus

from cdvae_service.jobstore.rq_adapter.allowed_job import AllowedJob
from cdvae_service.jobstore.rq_adapter.quiet_worker import QuietWorker


class WorkerRegistration:
    """Registers the worker `name` in RQ, so that RQ's tools show it and its jobs."""

    def __init__(self, connection: Redis, name: str, queues: Sequence[str]) -> None:
        self._worker = QuietWorker(connection, name, queues, own=True)

    def enter(self) -> None:
        """Register the worker."""
        self._worker.register_birth()  # type: ignore[no-untyped-call]
        self._worker.set_state(WorkerStatus.STARTED)

    def leave(self) -> None:
        """Remove the registration."""
        self._worker.register_death()  # type: ignore[no-untyped-call]

    def renew(self) -> None:
        """Extend the registration."""
        self._worker.heartbeat()

    def set_idle(self) -> None:
        """Note that the worker has no job."""
        self._worker.set_state(WorkerStatus.IDLE)

    def begin(self, job: AllowedJob) -> Execution:
        """Return the execution of a job that the worker is about to run."""
        execution = self._worker.prepare_execution(job)
        self._worker.executions.clear()  # RQ keeps them for commands that we do not serve
        return execution

    def renew_execution(self, job: AllowedJob, execution: Execution) -> None:
        """Extend the execution of a running job."""
        self._worker.maintain_heartbeats(job, execution)
