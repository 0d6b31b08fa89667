"""The RQ worker of a device: one job at a time, in a work-horse that keeps its models loaded."""

from __future__ import annotations

import logging
import time
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rq.exceptions import DequeueTimeout, InvalidJobOperation, StopRequested
from rq.executions import Execution
from rq.job import Job, JobStatus
from rq.queue import Queue
from rq.utils import now
from rq.worker import WorkerStatus

from schema.jobs import JobError
from schema.wire import progress_key
from worker.expiry import Expiry
from worker.failures import record, timed_out, worker_lost
from worker.horse_process import HorseDiedError
from worker.horse_worker import TICK, HorseStartError, HorseWorker
from worker.presence import RENEW_EVERY
from worker.rescue import Rescue

log = logging.getLogger(__name__)

DEQUEUE_SECONDS = 1  # s that one look at the queues waits


class DeviceWorker(HorseWorker):
    """Takes jobs off the queues, the most urgent first, and has its horse run them.

    Differences from RQ's worker, besides the horse: a job of a dead worker is failed within
    seconds; a job that is running when the worker is told to stop gets `shutdown_grace` seconds
    and goes back to the front of its queue.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._rescue = Rescue(self, self.metrics.job_ended)
        self._expiry = Expiry(self.connection, self.settings.home, self.settings.result_ttl)
        self._next_heartbeat = 0.0

    def run_maintenance_tasks(self) -> None:
        """RQ's own clean-up, lost jobs, results whose time is over, a horse that died idle."""
        super().run_maintenance_tasks()  # type: ignore[no-untyped-call]
        self._rescue.run()
        self._expiry.run()
        self._listen()
        self._ensure_horse()

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[Job, Queue] | None:
        """The next job, sooner or later; raises StopRequested when the worker is to stop."""
        self.set_state(WorkerStatus.IDLE)
        self._announce("idle")
        while not self._stop_requested:
            try:
                self.heartbeat()
                if self.should_run_maintenance_tasks:
                    self.run_maintenance_tasks()
                return self.queue_class.dequeue_any(
                    self._ordered_queues,
                    DEQUEUE_SECONDS,
                    connection=self.connection,
                    job_class=self.job_class,
                    serializer=self.serializer,
                    death_penalty_class=self.death_penalty_class,
                )
            except DequeueTimeout:
                continue
            except (RedisConnectionError, RedisTimeoutError) as error:
                log.warning("waiting for Redis: %s", error)
                time.sleep(1.0)
        raise StopRequested

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Run one job to its end: result, failure, cancellation or requeueing."""
        if job.get_status() == JobStatus.CANCELED:
            return  # cancelled in the moment between leaving the queue and now
        try:
            self._ensure_horse()
        except (HorseStartError, StopRequested):
            self._requeue(job, queue, None)
            raise
        execution = self.prepare_execution(job)
        self._announce("busy")
        job.started_at = now()
        try:
            self._run(job, queue, execution)
        except HorseDiedError as death:
            self._drop_horse()
            self._fail(job, queue, execution, worker_lost(death.status))
        self.executions.pop(execution.id, None)
        self._horse_pid = 0
        self.set_state(WorkerStatus.IDLE)
        self.metrics.job_ended(job)
        if not self._stop_requested:
            self._announce("starting" if self._horse is None else "idle")
            self._ensure_horse()

    def _run(self, job: Job, queue: Queue, execution: Execution) -> None:
        horse = self._horse
        assert horse is not None
        self._horse_pid = horse.pid
        horse.send({"job": job.id, "execution": execution.id, "queue": queue.name})
        started = time.monotonic()
        limit = job.timeout or self.queue_class.DEFAULT_TIMEOUT
        while True:
            if any(self._handle(message) == "done" for message in horse.receive(TICK)):
                return
            self._keep_alive(job, execution)
            if limit > 0 and time.monotonic() - started > limit + self.settings.timeout_grace:
                log.warning("job %s ignored its time limit of %s s; killing it", job.id, limit)
                self._kill_horse()
                return self._fail(job, queue, execution, timed_out(job))
            if self._grace_is_over():
                log.warning("job %s goes back to its queue: the worker shuts down", job.id)
                self._kill_horse()
                return self._requeue(job, queue, execution)

    def _keep_alive(self, job: Job, execution: Execution) -> None:
        if time.monotonic() < self._next_heartbeat:
            return
        self._next_heartbeat = time.monotonic() + RENEW_EVERY
        try:
            self.maintain_heartbeats(job, execution)
            self._rescue.run()
        except (RedisConnectionError, RedisTimeoutError) as error:
            # The job may well outlive a short outage; if not, its end will say so.
            log.warning("no heartbeat: Redis does not answer (%s)", error)

    def _grace_is_over(self) -> bool:
        requested = self._shutdown_requested_date
        return (
            self._stop_requested
            and requested is not None
            and (now() - requested).total_seconds() >= self._grace
        )

    def _fail(self, job: Job, queue: Queue, execution: Execution, error: JobError) -> None:
        """Fail the job from this side, unless its horse had already settled it."""
        try:
            settled = job.get_status() in (JobStatus.FINISHED, JobStatus.FAILED)
        except InvalidJobOperation:
            settled = True
        if settled:
            return
        log.warning("job %s failed: %s", job.id, error.detail)
        record(job, error)
        job.ended_at = now()
        self.handle_job_failure(job, queue, exc_string=error.detail, execution=execution)

    def _requeue(self, job: Job, queue: Queue, execution: Execution | None) -> None:
        """Put the job first in its queue; it starts anew and gives the same crystals."""
        job.started_at = None
        with self.connection.pipeline() as pipeline:
            pipeline.delete(progress_key(job.id))
            self.cleanup_execution(job, pipeline, execution)
            queue._enqueue_job(job, pipeline=pipeline, at_front=True)
            pipeline.execute()
