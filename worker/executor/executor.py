"""The executor: the process that holds the models and runs the jobs, each in a thread.

It is told what to do by JSON lines on its standard input (first its settings, then one line a
job) and reports on the pipe whose number is its argument:

    {"event": "ready", ...}              the models are loaded
    {"event": "chunk", ...}              see worker.supervisor.worker_metrics
    {"event": "done", "job": ..., ...}   the job is settled in Redis
    {"event": "models", ...}             a new version was loaded between jobs

All but `chunk` also say what the process has: `models`, `device`, `relax` (a potential).
It ends when its input closes, even in the middle of a job: then the worker is gone.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from io import RawIOBase
from typing import Any, BinaryIO

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rq.executions import Execution
from rq.job import Job
from rq.queue import Queue
from rq.serializers import JSONSerializer
from rq.timeouts import TimerDeathPenalty
from rq.worker import BaseWorker

from cdvae.errors import ModelStoreError
from cdvae_schema.wire import FUNCTIONS, LEASES_KEY
from cdvae_service.models.store_errors import StoreError
from cdvae_service.results.result_store import open_store
from cdvae_service.telemetry.logs import NONE, configure_logging, job_in_logs
from cdvae_service.telemetry.tracing import context_from, export_traces, flush_traces, tracer
from worker.executor.job_control import LeaseLostError
from worker.model.model_cache import LoadEngine, ModelCache, load_engine
from worker.results.analysis_pool import AnalysisPool
from worker.results.job_relaxation import LoadPotential, Relaxer, find_potential
from worker.supervisor.allowed_job import AllowedJob
from worker.supervisor.executor_process import Message
from worker.supervisor.failures import record_failure
from worker.supervisor.leases import connect
from worker.worker_settings import WorkerSettings

log = logging.getLogger("worker.executor.executor")

FOLLOW_SECONDS = 5.0  # s without a job after which the model store is looked at
NICENESS = 10
"""Who answers clients on the same cores goes first; beside other work that takes them all a tenth
of each is left. In a container of its own nothing changes.
"""


class JobExecution(BaseWorker):
    """RQ's side of running a job: states, time limit, result, failure.

    A job whose lease has gone to another worker is left alone, and one whose end could not be
    written because Redis was gone is left `started`: the worker gives it back to its queue.
    """

    job_class = AllowedJob
    death_penalty_class = TimerDeathPenalty  # signals reach the main thread alone

    def handle_job_success(self, job: Job, *args: Any, **kwargs: Any) -> None:
        """Record the success, if the job is still ours."""
        if self.connection.hget(LEASES_KEY, job.id) != self.name.encode():
            raise LeaseLostError(f"job {job.id}")
        super().handle_job_success(job, *args, **kwargs)

    def _finalize_failure(self, job: Job, *args: Any) -> None:
        """Record the failure, if it is one of the job."""
        kind, error, _ = args[-1]
        if issubclass(kind, LeaseLostError | RedisConnectionError | RedisTimeoutError):
            log.warning("its end is not recorded: %s: %s", kind.__name__, error)
            return
        super()._finalize_failure(job, *args)


def main(
    load: LoadEngine = load_engine, potential: Callable[[], LoadPotential | None] = find_potential
) -> None:
    """Serve jobs until the input closes.

    load: makes a model ready to use; potential: finds how to load the interatomic potential.
    """
    os.nice(NICENESS)
    reports = os.fdopen(int(sys.argv[1]), "wb", buffering=0)
    os.set_inheritable(reports.fileno(), False)
    # Unbuffered: a thread that waits in a buffered file would abort the interpreter at its exit.
    commands = open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)  # noqa: SIM115
    first = json.loads(commands.readline())
    settings = WorkerSettings.model_validate(first["settings"])
    configure_logging(settings.log_level, settings.log_json)
    export_traces("cdvae-worker")
    messages = _read_in_background(commands)
    from cdvae.compute import configure  # torch, which the parent's imports of this module spare

    configure(settings.threads)
    checks = AnalysisPool(settings.threads)
    try:
        models = ModelCache(settings, load)
        models.preload()
    except (ModelStoreError, StoreError) as error:
        log.error(
            "no model to work with in %s: %s", settings.model_store or "the default store", error
        )
        flush_traces()
        os._exit(os.EX_CONFIG)  # a busy machine takes longer to unload torch than the worker waits
    relaxer = Relaxer(potential(), settings.device)
    _serve(settings, first["worker"], models, checks, relaxer, messages, reports)


def _read_in_background(commands: RawIOBase) -> queue.Queue[Message]:
    """The messages to come. The process ends with its input, whatever it is doing then."""
    messages: queue.Queue[Message] = queue.Queue()

    def read() -> None:
        for line in commands:
            messages.put(json.loads(line))
        flush_traces()
        os._exit(0)

    threading.Thread(target=read, name="worker-pipe", daemon=True).start()
    return messages


def _serve(
    settings: WorkerSettings,
    worker: str,
    models: ModelCache,
    checks: AnalysisPool,
    relaxer: Relaxer,
    messages: queue.Queue[Message],
    reports: BinaryIO,
) -> None:
    connection = connect(settings.redis_url)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the worker to deal with
    writing = threading.Lock()

    def report(message: Message) -> None:
        with writing:
            reports.write(json.dumps(message).encode() + b"\n")

    def state(event: str, **facts: str) -> None:
        has = {"models": models.loaded, "device": models.device, "relax": relaxer.available}
        report({"event": event, **facts, **has})

    def perform(message: Message) -> None:
        try:
            _perform(worker, connection, message)
        except (RedisConnectionError, RedisTimeoutError) as error:
            log.warning("cannot begin job %s: %s", message["job"], error)
        except Exception:
            log.exception("job %s", message["job"])
        finally:
            state("done", job=message["job"])

    AllowedJob.functions = _functions(settings, worker, connection, models, checks, relaxer, report)
    state("ready")
    while True:
        try:
            message = messages.get(timeout=FOLLOW_SECONDS)
        except queue.Empty:
            if models.follow():
                state("models")
            continue
        name = f"job-{message['job'][:8]}"
        threading.Thread(target=perform, args=(message,), name=name, daemon=True).start()


def _functions(
    settings: WorkerSettings,
    worker: str,
    connection: Redis,
    models: ModelCache,
    checks: AnalysisPool,
    relaxer: Relaxer,
    report: Callable[[Message], None],
) -> dict[str, Callable[[Message], Message]]:
    from worker.batching.dynamic_batcher import DynamicBatcher
    from worker.executor import job_functions
    from worker.executor.redis_sync import RedisSync

    store, sync = open_store(settings.home, settings.results_url), RedisSync(connection, worker)
    context = job_functions.JobContext(
        store, connection, models, checks, relaxer, DynamicBatcher(), sync, report
    )
    return {
        name: partial(getattr(job_functions, kind), context) for kind, name in FUNCTIONS.items()
    }


def _perform(worker: str, connection: Redis, message: Message) -> None:
    executor = JobExecution(
        [],
        name=worker,
        connection=connection,
        job_class=AllowedJob,
        serializer=JSONSerializer,
        prepare_for_work=False,
    )
    executor.push_exc_handler(record_failure)  # type: ignore[no-untyped-call]
    executor.log_job_description = False
    job = AllowedJob.load(message["job"], connection)
    execution = Execution(message["execution"], job.id, connection, worker)
    execution._job = job
    executor.executions = {execution.id: execution}
    job_queue = Queue(
        job.origin, connection=connection, job_class=AllowedJob, serializer=JSONSerializer
    )
    with (
        job_in_logs(job.id, job.request_id or NONE),
        tracer.start_as_current_span("job", context_from(job.trace)) as span,
    ):
        span.set_attribute("cdvae.job.id", job.id)
        log.info("starts, %s", job.description)
        done = executor.perform_job(job, job_queue, execution)
        log.info("ends, %s", "done" if done else "failed")


if __name__ == "__main__":
    main()
