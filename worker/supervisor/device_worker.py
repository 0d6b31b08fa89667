"""The RQ worker of a device: jobs side by side, in an executor that keeps its models loaded."""

from __future__ import annotations

import logging
import time
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rq.exceptions import NoSuchJobError, StopRequested
from rq.utils import now
from rq.worker import WorkerStatus

from cdvae_schema.job_specs import JobError
from cdvae_service.jobstore.ledger import ENDED
from cdvae_service.results.result_store import open_store
from worker.supervisor.allowed_job import AllowedJob
from worker.supervisor.executor_process import ExecutorDiedError, Message
from worker.supervisor.executor_worker import ExecutorStartError, ExecutorWorker
from worker.supervisor.failures import executor_lost, forbidden, timed_out
from worker.supervisor.heartbeat import RENEW_EVERY
from worker.supervisor.leases import Leases, Verdict
from worker.supervisor.orphan_recovery import OrphanRecovery
from worker.supervisor.queue_listener import QueueListener
from worker.supervisor.result_expiry import ResultExpiry
from worker.supervisor.running_jobs import RunningJob, queues_with_room

log = logging.getLogger(__name__)

IDLE_SECONDS = 1.0  # s between two looks at the queues, should no announcement come
BUSY_SECONDS = 0.05  # s between two looks at the queues while jobs run
OUTAGE_SECONDS = 0.5  # s between two tries while Redis does not answer
REDIS_GONE = (RedisConnectionError, RedisTimeoutError)


class DeviceWorker(ExecutorWorker):
    """Takes jobs off the queues and has its executor run them.

    This is RQ's worker without its loop. Several jobs run at a time and share batches. A job is
    leased from the moment it leaves its queue (`cdvae_service.jobstore.ledger`), and jobs of a dead
    worker return to their queues within seconds. A running job gets `shutdown_grace` seconds when
    the worker has to stop; then it goes back to the front of its queue, to be continued after its
    last finished chunk. The worker waits until an outage of Redis ends.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        settings = self.settings
        self._ledger = Leases(self.connection, self.name)
        self._rescue = OrphanRecovery(self._ledger, self._ended)
        store = open_store(settings.home, settings.results_url)
        self._expiry = ResultExpiry(self.connection, store, settings.result_ttl)
        self._next_heartbeat = 0.0
        self._running: dict[str, RunningJob] = {}
        # A job that nothing runs beside: it is next, or it runs.
        self._alone: AllowedJob | None = None

    def run(self) -> None:
        """Work until a signal comes; raises ExecutorStartError where no model can be loaded."""
        self.bootstrap(None)
        try:
            while self._running or not self._stop_requested:
                try:
                    if not self._take():
                        self._wait()
                    self._look_around()
                except ExecutorDiedError as death:
                    self._give_back_all("retry", executor_lost(death.status))
                except REDIS_GONE as error:
                    log.warning("waiting for Redis: %s", error)
                    time.sleep(OUTAGE_SECONDS)
            if self._alone is not None:
                self._end(self._alone.id, "return", None)
        except StopRequested:
            log.info("stopped while the models were being loaded")
        finally:
            self.teardown()

    def _take(self) -> bool:
        """Begin one more job, if there is one and room for it."""
        if self._stop_requested or self._alone is not None:
            return False
        running = list(self._running.values())
        queues = queues_with_room(running, self.settings.queues, self.settings.max_concurrent_jobs)
        job_id = self._ledger.take(queues, self._running) if queues else None
        if job_id is None:
            return False
        try:
            job = AllowedJob.load(job_id, self.connection)
        except NoSuchJobError:  # it cannot be read: see AllowedJob.restore
            self._end(job_id, "fail", forbidden())
            return True
        if job.attempts:
            self._alone = job  # a process was lost with it: the jobs of others shall not be
        else:
            self._begin(job)
        return True

    def _begin(self, job: AllowedJob) -> None:
        """Give one leased job to the executor."""
        try:
            if not self._running:
                self._ensure_executor()
            assert self._executor is not None
            execution = self.prepare_execution(job)
            job.started_at = now()
            limit = job.timeout or self.queue_class.DEFAULT_TIMEOUT
            self._running[job.id] = RunningJob(job, execution, float(limit))
            if len(self._running) == 1:
                self._announce("busy")
            self._executor.send({"job": job.id, "execution": execution.id})
        except (*REDIS_GONE, ExecutorStartError, StopRequested):
            self._end(job.id, "return", None)
            raise

    def _wait(self) -> None:
        """Return when a job has ended or may be taken, or after a short while."""
        if self._running:
            self._listen(BUSY_SECONDS)
            return
        if self._alone is not None:
            self._begin(self._alone)
            return
        self.set_state(WorkerStatus.IDLE)
        self._announce("idle")
        with QueueListener(self.connection) as listener:
            while not self._stop_requested and not self._take():
                self._look_around()
                listener.wait(IDLE_SECONDS)

    def _look_around(self) -> None:
        """Settle all jobs after their process ended."""
        try:
            self._beat()
            self._rescue.run()
            self._expiry.run()
        except REDIS_GONE as error:
            if not self._running:
                raise
            # The jobs may well outlive a short outage; if not, their ends will say so.
            log.warning("no heartbeat: Redis does not answer (%s)", error)
        self._listen(0.0)
        if not self._running:
            self._ensure_executor()
        elif late := [one for one in self._running.values() if self._is_late(one)]:
            self._kill_executor()
            for one in late:
                log.warning("job %s ignored its time limit; its process is killed", one.job.id)
                self._end(one.job.id, "fail", timed_out(one.job))
            self._give_back_all("return", None)
        elif self._grace_is_over():
            log.warning("%d jobs are stopped: the worker shuts down", len(self._running))
            self._kill_executor()
            self._give_back_all("return", None)

    def _is_late(self, one: RunningJob) -> bool:
        return one.over_its_time(self.settings.timeout_grace)

    def _beat(self) -> None:
        if time.monotonic() < self._next_heartbeat:
            return
        self._next_heartbeat = time.monotonic() + RENEW_EVERY
        self.heartbeat()
        for one in self._running.values():
            self.maintain_heartbeats(one.job, one.execution)

    def _handle(self, message: Message) -> str:
        """Take note of one message of the executor; its name."""
        event = super()._handle(message)
        if event == "done" and message["job"] in self._running:
            self._end(message["job"], "return", None)  # back to its queue unless it has ended
        return event

    def _give_back_all(self, verdict: Verdict, problem: JobError | None) -> None:
        """What becomes of all jobs whose process is gone."""
        self._drop_executor()
        for job_id in list(self._running):
            self._end(job_id, verdict, problem)

    def _end(self, job_id: str, verdict: Verdict, problem: JobError | None) -> None:
        """Forget a job: result, failure, cancellation, or back to its queue."""
        one = self._running.pop(job_id, None)
        if one is not None:
            self.executions.pop(one.execution.id, None)
        if self._alone is not None and self._alone.id == job_id:
            self._alone = None
        if self._settle(job_id, verdict, problem) == "requeued":
            log.warning("job %s goes back to its queue", job_id)
        if not self._running and not self._stop_requested:
            self.set_state(WorkerStatus.IDLE)
            self._announce("starting" if self._executor is None else "idle")

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
