"""Jobs that a dead worker left behind: none stays `running` for ever.

RQ notices an abandoned job after about a minute. Our workers renew a presence key every few
seconds (`schema.wire`), and every worker fails the jobs of those whose key has run out.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from redis import Redis
from rq.exceptions import NoSuchJobError
from rq.executions import Execution
from rq.job import Job, JobStatus
from rq.queue import Queue
from rq.utils import as_text, now
from rq.worker import BaseWorker

from schema.wire import WORKERS_KEY
from worker.allowed_job import AllowedJob
from worker.failures import record, worker_lost
from worker.presence import is_alive

log = logging.getLogger(__name__)

EVERY = 2.0  # s
LOCK_SECONDS = 20


class Rescue:
    """Looks after the jobs that other workers lost, in the name of `worker`.

    ended: told of every job that ends here.
    """

    def __init__(self, worker: BaseWorker, ended: Callable[[Job], None]) -> None:
        self._worker = worker
        self._ended = ended
        self._connection: Redis = worker.connection
        self._next = 0.0

    def run(self) -> None:
        """Fail every started job whose worker is gone; looks at most every few seconds."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + EVERY
        for queue in self._worker.queues:
            for job_id, execution_id in queue.started_job_registry.get_job_and_execution_ids(
                cleanup=False
            ):
                self._fail_if_abandoned(queue, job_id, execution_id)
        for member in self._connection.smembers(WORKERS_KEY):
            if not is_alive(self._connection, as_text(member)):
                self._connection.srem(WORKERS_KEY, member)

    def _fail_if_abandoned(self, queue: Queue, job_id: str, execution_id: str) -> None:
        try:
            execution = Execution.fetch(execution_id, job_id, connection=self._connection)
            job = AllowedJob.fetch(job_id, self._connection, self._worker.serializer)
        except (ValueError, NoSuchJobError):
            return  # finished meanwhile; RQ drops stale entries of its registry
        if is_alive(self._connection, execution.worker_name) or not self._lock(job_id):
            return
        log.warning("job %s was lost with worker %s", job_id, execution.worker_name)
        if job.get_status() in (JobStatus.QUEUED, JobStatus.STARTED):
            record(job, worker_lost())
            job.ended_at = now()
            self._worker.handle_job_failure(
                job, queue, exc_string=f"lost with {execution.worker_name}", execution=execution
            )
            self._ended(job)
        else:
            with self._connection.pipeline() as pipeline:
                execution.delete(job, pipeline)
                pipeline.execute()

    def _lock(self, job_id: str) -> bool:
        """Whether this worker is the one that deals with the job; others may look at it too."""
        return bool(
            self._connection.set(
                f"cdvae:rescue:{job_id}", self._worker.name, nx=True, ex=LOCK_SECONDS
            )
        )
