"""The states of a worker, with an executor that says what the test tells it to say."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer

from cdvae_schema.job_specs import JobError
from cdvae_schema.wire import FIELD_ATTEMPTS, FIELD_ERROR, FUNCTIONS, LEASES_KEY, WORKERS_KEY
from cdvae_service.models.local_store import LocalStore
from worker.supervisor.device_worker import DeviceWorker
from worker.supervisor.executor_link import ExecutorStartError
from worker.supervisor.executor_process import ExecutorDiedError
from worker.supervisor.stop_signal import StopSignal
from worker.supervisor.worker_metrics import WorkerMetrics
from worker.supervisor.worker_state import TRANSITIONS, State, check_transition
from worker.worker_settings import WorkerSettings

GRACE = 10.0
LOADED = {"models": ["tiny@1"], "device": "cpu", "relax": False}


class ScriptedExecutor:
    """Stands in for ExecutorProcess."""

    def __init__(self) -> None:
        self.ready = self.closed = self.killed = False
        self.status: int | None = None
        self.messages: deque[dict[str, Any]] = deque()
        self.jobs: list[str] = []

    def says(self, event: str, **facts: str) -> None:
        self.messages.append({"event": event, **facts, **LOADED})

    def send(self, message: dict[str, Any]) -> None:
        self.jobs.append(message["job"])

    def receive(self, _timeout: float) -> dict[str, Any] | None:
        if self.messages:
            return self.messages.popleft()
        if self.status is not None:
            raise ExecutorDiedError(self.status)
        return None

    def alive(self) -> bool:
        return self.status is None

    def kill(self) -> int:
        self.killed = True
        return self.status or -9

    def close(self) -> None:
        self.closed = True


@dataclass
class Bench:
    """A worker, its executors, and a clock for its stop signal."""

    redis: Redis
    home: Path
    time: float = 0.0
    executors: list[ScriptedExecutor] = field(default_factory=list)
    on_start: Callable[["Bench"], None] = lambda bench: None

    def __post_init__(self) -> None:
        self.stop = StopSignal(GRACE, lambda: self.time)
        self.worker = DeviceWorker(
            self.redis,
            WorkerSettings(home=self.home),
            name="w",
            metrics=WorkerMetrics(LocalStore(self.home)),
            start_executor=self.start,  # type: ignore[arg-type]
            stop=self.stop,
        )

    def start(self) -> ScriptedExecutor:
        self.executors.append(ScriptedExecutor())
        self.on_start(self)
        return self.executors[-1]

    @property
    def executor(self) -> ScriptedExecutor:
        return self.executors[-1]

    def submit(self, attempts: int = 0) -> Job:
        queue = Queue("normal", connection=self.redis, serializer=JSONSerializer)
        job = queue.enqueue_call(FUNCTIONS["generate"], args=({"num_samples": 1},), result_ttl=60)
        self.redis.hset(job.key, FIELD_ATTEMPTS, attempts)
        return job

    def load(self) -> None:
        """Bring the worker to the state after LOADING."""
        self.worker.step()
        self.executor.says("ready")
        self.worker.step()

    def begin(self) -> Job:
        """Bring the worker to RUNNING with one job."""
        job = self.submit()
        self.load()
        self.worker.step()
        assert self.worker.state is State.RUNNING
        return job

    def finish(self, job: Job) -> None:
        self.redis.hset(job.key, "status", "finished")
        self.executor.says("done", job=job.id)
        self.worker.step()

    def waiting(self) -> list[str]:
        return [job_id.decode() for job_id in self.redis.lrange("rq:queue:normal", 0, -1)]

    def attempts(self, job: Job) -> int:
        return int(self.redis.hget(job.key, FIELD_ATTEMPTS) or 0)


@pytest.fixture
def bench(redis_client: Redis, tmp_path: Path) -> Bench:
    return Bench(redis_client, tmp_path)


def test_no_state_follows_draining_and_no_job_runs_before_the_models_are_loaded() -> None:
    assert set(TRANSITIONS) == set(State)
    for state in State:
        with pytest.raises(RuntimeError, match="DRAINING"):
            check_transition(State.DRAINING, state)
    with pytest.raises(RuntimeError):
        check_transition(State.LOADING, State.RUNNING)
    with pytest.raises(RuntimeError):
        check_transition(State.ISOLATING, State.RUNNING)
    check_transition(State.IDLE, State.RUNNING)


def test_a_job_runs_and_ends(bench: Bench) -> None:
    assert bench.worker.state is State.LOADING
    job = bench.submit()
    bench.worker.step()
    assert bench.worker.state is State.LOADING  # the models take their time
    bench.load()
    assert bench.worker.state is State.IDLE
    bench.worker.step()
    assert bench.worker.state is State.RUNNING
    assert bench.executor.jobs == [job.id]
    assert bench.redis.hget(LEASES_KEY, job.id) == b"w"
    bench.finish(job)
    assert bench.worker.state is State.IDLE
    assert bench.redis.hlen(LEASES_KEY) == 0


def test_a_job_that_lost_a_process_runs_without_other_jobs(bench: Bench) -> None:
    suspect = bench.begin()
    bench.executor.status = -9
    bench.worker.step()
    assert bench.worker.state is State.LOADING
    assert bench.executor.closed
    assert (bench.waiting(), bench.attempts(suspect)) == ([suspect.id], 1)
    other = bench.submit()
    bench.load()
    bench.worker.step()
    assert bench.worker.state is State.ISOLATING
    bench.worker.step()
    bench.worker.step()
    assert bench.executor.jobs == [suspect.id]
    assert bench.waiting() == [other.id]
    bench.executor.status = -9
    bench.worker.step()
    error = JobError.model_validate_json(bench.redis.hget(suspect.key, FIELD_ERROR))
    assert error.code == "worker_lost"
    bench.load()
    bench.worker.step()
    assert bench.worker.state is State.RUNNING
    assert (bench.executor.jobs, bench.attempts(other)) == ([other.id], 0)


def test_an_isolated_job_waits_until_the_others_have_ended(bench: Bench) -> None:
    other, suspect = bench.begin(), bench.submit(attempts=1)
    bench.worker.step()
    assert bench.worker.state is State.ISOLATING
    bench.worker.step()
    assert bench.executor.jobs == [other.id]
    bench.finish(other)
    bench.worker.step()
    assert bench.executor.jobs == [other.id, suspect.id]
    bench.finish(suspect)
    assert bench.worker.state is State.IDLE


def test_an_isolated_job_that_waits_is_not_to_blame(bench: Bench) -> None:
    other, suspect = bench.begin(), bench.submit(attempts=1)
    bench.worker.step()
    bench.executor.status = 7
    bench.worker.step()
    assert (bench.attempts(other), bench.attempts(suspect)) == (1, 1)
    bench.load()
    assert bench.worker.state is State.ISOLATING
    bench.worker.step()
    assert bench.executor.jobs == [suspect.id]


def test_an_executor_that_dies_without_jobs_is_replaced(bench: Bench) -> None:
    bench.load()
    job = bench.submit()
    bench.executor.status = 1
    bench.worker.step()
    assert bench.worker.state is State.LOADING
    bench.load()
    bench.worker.step()
    assert bench.executor.jobs == [job.id]
    assert bench.attempts(job) == 0


def test_a_worker_that_has_to_stop_takes_no_jobs(bench: Bench) -> None:
    running, waiting = bench.begin(), bench.submit()
    bench.stop.handle(15, None)
    bench.worker.step()
    assert bench.worker.state is State.DRAINING
    assert bench.waiting() == [waiting.id]
    bench.finish(running)
    assert bench.worker.state is State.DRAINING
    assert bench.redis.hlen(LEASES_KEY) == 0


@pytest.mark.parametrize("requests", [[0.0], [0.0, 2.0]])
def test_jobs_return_when_the_grace_has_ended(bench: Bench, requests: list[float]) -> None:
    running, waiting = bench.begin(), bench.submit()
    for bench.time in requests:
        bench.stop.handle(15, None)
    if requests == [0.0]:
        bench.time = GRACE - 0.1
        bench.worker.step()
        assert not bench.executor.killed
        bench.time = GRACE
    bench.worker.step()
    assert bench.executor.killed
    assert bench.waiting() == [running.id, waiting.id]
    assert bench.attempts(running) == 0


def stopped(bench: Bench) -> None:
    bench.stop.handle(15, None)


def dead(bench: Bench) -> None:
    bench.executors[-1].status = 78


@pytest.mark.parametrize(("event", "status"), [(stopped, None), (dead, 78)])
def test_the_end_while_the_models_are_loaded(
    bench: Bench, event: Callable[[Bench], None], status: int | None
) -> None:
    bench.on_start = event
    if status is None:
        bench.worker.run()
    else:
        with pytest.raises(ExecutorStartError) as failure:
            bench.worker.run()
        assert failure.value.status == status
    assert bench.executor.closed
    assert bench.redis.smembers(WORKERS_KEY) == set()


def test_an_isolated_job_that_never_began_returns_at_the_stop(bench: Bench) -> None:
    suspect = bench.submit(attempts=1)
    bench.load()
    bench.worker.step()
    assert bench.worker.state is State.ISOLATING
    bench.stop.handle(15, None)
    bench.worker.step()
    assert bench.worker.state is State.DRAINING
    assert bench.waiting() == [suspect.id]
    assert bench.attempts(suspect) == 1
