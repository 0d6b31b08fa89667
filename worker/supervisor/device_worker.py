"""The supervisor of a device: takes jobs off the queues and has an executor run them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from redis import Redis
from redis.exceptions import RedisError

from cdvae_schema.job_specs import JobError
from cdvae_service.jobstore.ledger import REDIS_GONE
from cdvae_service.jobstore.rq_adapter import AllowedJob, NoSuchJobError, WorkerRegistration
from cdvae_service.results.result_store import open_store
from worker.supervisor.executor_link import ExecutorLink
from worker.supervisor.executor_process import ExecutorDiedError, ExecutorProcess
from worker.supervisor.failures import executor_lost, forbidden, timed_out
from worker.supervisor.heartbeat import RENEW_EVERY, Heartbeat, PresenceState
from worker.supervisor.job_settlement import JobSettlement
from worker.supervisor.leases import Leases, Verdict
from worker.supervisor.queue_listener import QueueListener
from worker.supervisor.result_expiry import ResultExpiry
from worker.supervisor.running_jobs import RunningJob, queues_with_room
from worker.supervisor.stop_signal import StopSignal
from worker.supervisor.worker_metrics import WorkerMetrics
from worker.supervisor.worker_state import State, check_transition
from worker.worker_settings import WorkerSettings

log = logging.getLogger(__name__)

LOADING_SECONDS = 0.5  # s between two looks at signals while the models are loaded
IDLE_SECONDS = 1.0  # s between two looks at the queues, should no announcement come
BUSY_SECONDS = 0.05  # s between two looks at the queues while jobs run
OUTAGE_SECONDS = 0.5  # s between two tries while Redis does not answer
PRESENCE: dict[State, PresenceState] = {
    State.LOADING: "starting",
    State.IDLE: "idle",
    State.RUNNING: "busy",
    State.ISOLATING: "busy",
}


class DeviceWorker:
    """A state machine (`State`) whose loop takes jobs and listens to the executor.

    Several jobs run at a time and share batches. A job is leased from the moment it leaves its
    queue (`cdvae_service.jobstore.ledger`), and jobs of a dead worker return to their queues within
    seconds. When the worker has to stop, running jobs get `shutdown_grace` seconds; then they go
    back to the front of their queues, to be continued after their last finished chunk. The worker
    waits until an outage of Redis ends.

    start_executor: starts the process that owns the device. stop: the requests to stop.
    """

    def __init__(
        self,
        connection: Redis,
        settings: WorkerSettings,
        *,
        name: str,
        metrics: WorkerMetrics,
        start_executor: Callable[[], ExecutorProcess],
        stop: StopSignal,
    ) -> None:
        self.state = State.LOADING
        self._connection = connection
        self._settings = settings
        self._stop = stop
        self._registration = WorkerRegistration(connection, name, settings.queues)
        self._heart = Heartbeat(connection, name, metrics.error)
        self._leases = Leases(connection, name)
        self._settlement = JobSettlement(connection, self._leases, metrics, stop)
        store = open_store(settings.home, settings.results_url)
        self._expiry = ResultExpiry(connection, store, settings.result_ttl)
        self._listener = QueueListener(connection)
        self._executor = ExecutorLink(start_executor, settings.load_timeout, metrics, self._heart)
        self._next_heartbeat = 0.0
        self._running: dict[str, RunningJob] = {}
        self._isolated: AllowedJob | None = None  # the job of State.ISOLATING

    def run(self) -> None:
        """Work until a request to stop; raises ExecutorStartError where no model can be loaded."""
        self._registration.enter()
        try:
            self._heart.announce()
            while self._running or self.state is not State.DRAINING:
                self.step()
        finally:
            self._leave()

    def step(self) -> None:
        """Do the work of the current state once, then what is due in every state."""
        if self._stop.requested and self.state is not State.DRAINING:
            self._change(State.DRAINING)
            if self._isolated is not None and self._isolated.id not in self._running:
                self._end(self._isolated.id, "return", None)
        try:
            match self.state:
                case State.LOADING:
                    self._load()
                case State.IDLE:
                    self._look_for_work()
                case State.RUNNING:
                    if not self._take():
                        self._listen(BUSY_SECONDS)
                    self._listen(0.0)
                case State.ISOLATING:
                    self._isolate()
                case State.DRAINING:
                    self._listen(BUSY_SECONDS)
            self._maintain()
            self._enforce_limits()
        except ExecutorDiedError as death:
            self._lose_executor()
            self._end_all("retry", executor_lost(death.status))
        except REDIS_GONE as error:
            log.warning("waiting for Redis: %s", error)
            self._listener.close()
            time.sleep(OUTAGE_SECONDS)

    def _change(self, state: State) -> None:
        """Enter a state and announce it."""
        check_transition(self.state, state)
        log.debug("from %s to %s", self.state.name, state.name)
        self.state = state
        self._listener.close()
        self._heart.state = PRESENCE.get(state, self._heart.state)
        if state is State.LOADING:
            self._heart.models = []
        try:
            self._heart.announce()
            if state is State.IDLE:
                self._registration.set_idle()
        except REDIS_GONE as error:  # the next heartbeat announces it
            log.warning("state %s is not announced: %s", state.name, error)

    # The work of each state

    def _load(self) -> None:
        """Start an executor, or wait for its models; raises ExecutorStartError."""
        if self._executor.load(LOADING_SECONDS):
            self._change(State.IDLE if self._isolated is None else State.ISOLATING)

    def _look_for_work(self) -> None:
        """Take a job, or wait for one."""
        self._executor.check()
        self._listener.open()
        if not self._take():
            self._listener.wait(IDLE_SECONDS)

    def _isolate(self) -> None:
        """Begin the isolated job as soon as no other job runs."""
        if not self._running and self._isolated is not None:
            self._executor.check()
            self._begin(self._isolated)
        self._listen(BUSY_SECONDS)

    def _take(self) -> bool:
        """Begin one more job, if there is one and room for it; return whether one was taken."""
        running = list(self._running.values())
        most = self._settings.max_concurrent_jobs
        queues = queues_with_room(running, self._settings.queues, most)
        job_id = self._leases.take(queues, self._running) if queues else None
        if job_id is None:
            return False
        try:
            job = AllowedJob.load(job_id, self._connection)
        except NoSuchJobError:  # it cannot be read: see AllowedJob.restore
            self._end(job_id, "fail", forbidden())
            return True
        if job.attempts:
            self._isolated = job  # it may take a second process down, but no jobs of others
            self._change(State.ISOLATING)
        else:
            self._begin(job)
        return True

    def _begin(self, job: AllowedJob) -> None:
        """Give one leased job to the executor."""
        try:
            self._running[job.id] = RunningJob(job, self._registration.begin(job))
            if self.state is State.IDLE:
                self._change(State.RUNNING)
            self._executor.send({"job": job.id, "execution": self._running[job.id].execution.id})
        except REDIS_GONE:
            self._end(job.id, "return", None)
            raise

    def _listen(self, seconds: float) -> None:
        """Handle the next message of the executor; raises ExecutorDiedError."""
        job_id = self._executor.listen(seconds)
        if job_id in self._running:
            self._end(job_id, "return", None)  # back to its queue unless it has ended

    # Work in every state

    def _maintain(self) -> None:
        """Renew the heartbeats, look after orphaned jobs and expired results."""
        now = time.monotonic()
        try:
            if now >= self._next_heartbeat:
                self._next_heartbeat = now + RENEW_EVERY
                self._registration.renew()
                self._heart.renew()
                for one in self._running.values():
                    self._registration.renew_execution(one.job, one.execution)
            self._settlement.recover_orphans()
            self._expiry.run()
        except REDIS_GONE as error:
            if not self._running:
                raise
            # The jobs may well outlive a short outage; if not, their ends will say so.
            log.warning("no heartbeat: Redis does not answer (%s)", error)

    def _enforce_limits(self) -> None:
        """Kill the executor if a job ignored its time limit or the grace of a stop has ended."""
        grace = self._settings.timeout_grace
        late = [one.job for one in self._running.values() if one.exceeds_limit(grace)]
        stopping = self.state is State.DRAINING and self._stop.grace_ended
        if not self._running or not (late or stopping):
            return
        self._executor.kill()
        self._lose_executor()
        for job in late:
            log.warning("job %s ignored its time limit; its process is killed", job.id)
            self._end(job.id, "fail", timed_out(job))
        if stopping:
            log.warning("%d jobs are stopped: the worker shuts down", len(self._running))
        self._end_all("return", None)

    def _lose_executor(self) -> None:
        """Free what an executor that died or was killed leaves; another one is loaded next."""
        self._executor.close()
        if self.state is not State.DRAINING:
            self._change(State.LOADING)

    # The end of jobs

    def _end(self, job_id: str, verdict: Verdict, problem: JobError | None) -> None:
        """Forget a job: result, failure, cancellation, or back to its queue."""
        self._running.pop(job_id, None)
        if self._isolated is not None and self._isolated.id == job_id:
            self._isolated = None
        self._settlement.settle(job_id, verdict, problem)
        done = not self._running and self._isolated is None
        if done and self.state in (State.RUNNING, State.ISOLATING):
            self._change(State.IDLE)

    def _end_all(self, verdict: Verdict, problem: JobError | None) -> None:
        for job_id in list(self._running):
            self._end(job_id, verdict, problem)

    def _leave(self) -> None:
        """Leave no process and no registration behind."""
        self._listener.close()
        self._executor.close()
        try:
            self._heart.leave()
            self._registration.leave()
        except RedisError as error:
            log.warning("could not sign off: Redis does not answer (%s)", error)
