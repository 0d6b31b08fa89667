"""The RQ worker of a device: one job at a time, in a work-horse that keeps its models loaded."""

from __future__ import annotations

import logging
import time
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rq.exceptions import NoSuchJobError, StopRequested
from rq.executions import Execution
from rq.job import Job
from rq.queue import Queue
from rq.utils import now
from rq.worker import WorkerStatus

from backplane.ledger import ENDED
from backplane.results import open_store
from schema.jobs import JobError
from worker.allowed_job import AllowedJob
from worker.doorbell import Doorbell
from worker.expiry import Expiry
from worker.failures import forbidden, horse_lost, timed_out
from worker.horse_process import HorseDiedError
from worker.horse_worker import TICK, HorseStartError, HorseWorker
from worker.ledger import Ledger, Verdict
from worker.presence import RENEW_EVERY
from worker.rescue import Rescue

log = logging.getLogger(__name__)

IDLE_SECONDS = 1.0  # s between two looks at the queues, should no announcement come
OUTAGE_SECONDS = 0.5  # s between two tries while Redis does not answer
REDIS_GONE = (RedisConnectionError, RedisTimeoutError)


class DeviceWorker(HorseWorker):
    """Takes jobs off the queues and has its horse run them.

    RQ's worker without its loop: a job is leased from the moment it leaves its queue (see
    `backplane.ledger`); the jobs of a dead worker are looked after within seconds; a job that
    runs when the worker is told to stop gets `shutdown_grace` seconds and goes back to the front
    of its queue, to be continued after its last finished chunk; an outage of Redis is waited out.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        settings = self.settings
        self._ledger = Ledger(self.connection, self.name)
        self._rescue = Rescue(self._ledger, self._ended)
        store = open_store(settings.home, settings.results_url)
        self._expiry = Expiry(self.connection, store, settings.result_ttl)
        self._next_heartbeat = 0.0

    def run(self) -> None:
        """Work until a signal comes; raises HorseStartError where no model can be loaded."""
        self.bootstrap(None)
        try:
            while not self._stop_requested:
                try:
                    job_id = self._ledger.take(self.settings.queues) or self._wait_for_job()
                    if job_id is not None:
                        self._work_on(job_id)
                    self._look_around()
                except REDIS_GONE as error:
                    log.warning("waiting for Redis: %s", error)
                    time.sleep(OUTAGE_SECONDS)
        except StopRequested:
            log.info("stopped while the models were being loaded")
        finally:
            self.teardown()

    def _wait_for_job(self) -> str | None:
        """The next job, sooner or later; None when the worker is to stop."""
        self.set_state(WorkerStatus.IDLE)
        self._announce("idle")
        with Doorbell(self.connection) as doorbell:
            while not self._stop_requested:
                job_id = self._ledger.take(self.settings.queues)
                if job_id is not None:
                    return job_id
                self._look_around()
                doorbell.wait(IDLE_SECONDS)
        return None

    def _look_around(self) -> None:
        """Signs of life, jobs of the dead, results whose time is over, a horse that died idle."""
        self._beat()
        self._rescue.run()
        self._expiry.run()
        self._listen()
        self._ensure_horse()

    def _beat(self) -> None:
        if time.monotonic() >= self._next_heartbeat:
            self._next_heartbeat = time.monotonic() + RENEW_EVERY
            self.heartbeat()

    def _work_on(self, job_id: str) -> None:
        """Run one leased job to its end: result, failure, cancellation, or back to its queue."""
        try:
            job = AllowedJob.fetch(job_id, self.connection, self.serializer)
        except NoSuchJobError:  # it cannot be read: see AllowedJob.restore
            self._settle(job_id, "fail", forbidden())
            return
        verdict: Verdict = "return"
        problem: JobError | None = None
        try:
            self._ensure_horse()
            verdict, problem = self._run(job)
        except (*REDIS_GONE, HorseStartError, StopRequested):
            self._settle(job_id, "return", None)
            raise
        if self._settle(job_id, verdict, problem) == "requeued":
            log.warning("job %s goes back to its queue", job_id)
        self.set_state(WorkerStatus.IDLE)
        if not self._stop_requested:
            self._announce("starting" if self._horse is None else "idle")

    def _run(self, job: Job) -> tuple[Verdict, JobError | None]:
        """What is to become of the job, unless its horse has settled that already."""
        queue = Queue(job.origin, connection=self.connection)
        execution = self.prepare_execution(job)
        self._announce("busy")
        job.started_at = now()
        try:
            return self._run_in_horse(job, queue, execution)
        except HorseDiedError as death:
            self._drop_horse()
            return "retry", horse_lost(death.status)
        finally:
            self.executions.pop(execution.id, None)
            self._horse_pid = 0

    def _run_in_horse(
        self, job: Job, queue: Queue, execution: Execution
    ) -> tuple[Verdict, JobError | None]:
        horse = self._horse
        assert horse is not None
        self._horse_pid = horse.pid
        horse.send({"job": job.id, "execution": execution.id, "queue": queue.name})
        started = time.monotonic()
        limit = job.timeout or self.queue_class.DEFAULT_TIMEOUT
        while True:
            if any(self._handle(message) == "done" for message in horse.receive(TICK)):
                return "return", None
            self._keep_alive(job, execution)
            if limit > 0 and time.monotonic() - started > limit + self.settings.timeout_grace:
                log.warning("job %s ignored its time limit of %s s; killing it", job.id, limit)
                self._kill_horse()
                return "fail", timed_out(job)
            if self._grace_is_over():
                log.warning("job %s is stopped: the worker shuts down", job.id)
                self._kill_horse()
                return "return", None

    def _keep_alive(self, job: Job, execution: Execution) -> None:
        try:
            if time.monotonic() >= self._next_heartbeat:
                self._next_heartbeat = time.monotonic() + RENEW_EVERY
                self.maintain_heartbeats(job, execution)
            self._rescue.run()
        except REDIS_GONE as error:
            # The job may well outlive a short outage; if not, its end will say so.
            log.warning("no heartbeat: Redis does not answer (%s)", error)

    def _grace_is_over(self) -> bool:
        requested = self._shutdown_requested_date
        return (
            self._stop_requested
            and requested is not None
            and (now() - requested).total_seconds() >= self._grace
        )

    def _settle(self, job_id: str, verdict: Verdict, error: JobError | None) -> str:
        """What became of the job. An outage of Redis is waited out: nobody else knows the end.

        A worker that is to stop does not wait; its jobs are looked after as those of the dead.
        """
        while True:
            try:
                fate = self._ledger.settle(job_id, verdict, error)
            except RedisError as trouble:
                if self._stop_requested:
                    log.warning("job %s is left to others: %s", job_id, trouble)
                    return "unknown"
                time.sleep(OUTAGE_SECONDS)
            else:
                if error is not None:
                    log.warning("job %s: %s: %s", job_id, fate, error.detail)
                if fate in ENDED:
                    self._ended(job_id)
                return fate

    def _ended(self, job_id: str) -> None:
        self.metrics.job_ended(AllowedJob(job_id, self.connection, self.serializer))
