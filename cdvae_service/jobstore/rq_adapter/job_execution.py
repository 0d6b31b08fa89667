"""Runs one job the way RQ does: its states, its time limit, its result or failure."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from redis import Redis
from rq.executions import Execution
from rq.job import Job
from rq.queue import Queue
from rq.serializers import JSONSerializer
from typing_extensions import override

from cdvae_schema.wire import LEASES_KEY
from cdvae_service.jobstore.ledger import REDIS_GONE, LeaseLostError
from cdvae_service.jobstore.rq_adapter.allowed_job import AllowedJob
from cdvae_service.jobstore.rq_adapter.quiet_worker import QuietWorker

log = logging.getLogger(__name__)

OnError = Callable[[AllowedJob, BaseException], None]


class JobExecution(QuietWorker):
    """Runs one job for the worker `name`.

    It writes no end of a job whose lease another worker has. It also leaves a job `started` if
    Redis does not answer at its end; the supervisor then returns that job to its queue.
    """

    def __init__(self, connection: Redis, name: str, on_error: OnError) -> None:
        super().__init__(connection, name, (), own=False)

        def handle(job: AllowedJob, _kind: type, error: BaseException, _traceback: Any) -> None:
            on_error(job, error)

        self.push_exc_handler(handle)  # type: ignore[no-untyped-call]

    @override
    def handle_job_success(self, job: Job, *args: Any, **kwargs: Any) -> None:
        if self.connection.hget(LEASES_KEY, job.id) != self.name.encode():
            raise LeaseLostError(f"job {job.id}")
        super().handle_job_success(job, *args, **kwargs)

    @override
    def _finalize_failure(self, job: Job, *args: Any) -> None:
        kind, error, _ = args[-1]
        if issubclass(kind, (LeaseLostError, *REDIS_GONE)):
            log.warning("the end of job %s is not recorded: %s: %s", job.id, kind.__name__, error)
            return
        super()._finalize_failure(job, *args)


def run_job(job: AllowedJob, execution_id: str, worker: str, on_error: OnError) -> bool:
    """Run a job whose execution `worker` has begun; return whether it succeeded.

    on_error: called with the job and its exception before the job is marked as failed.
    """
    connection = job.connection
    runner = JobExecution(connection, worker, on_error)
    execution = Execution(execution_id, job.id, connection, worker)
    execution._job = job
    runner.executions = {execution.id: execution}
    queue = Queue(
        job.origin, connection=connection, job_class=AllowedJob, serializer=JSONSerializer
    )
    return runner.perform_job(job, queue, execution)
