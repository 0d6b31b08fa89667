"""The executor: the process that holds the models and runs the jobs, each in a thread.

`worker.executor_protocol` describes its input and its reports. It ends when its input
closes, even in the middle of a job, because the supervisor has ended then.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import multiprocessing.util
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from io import RawIOBase
from typing import BinaryIO

from redis import Redis

from cdvae.errors import ModelStoreError
from cdvae_schema.wire import FUNCTIONS
from cdvae_service.jobstore.ledger import REDIS_GONE
from cdvae_service.jobstore.rq_adapter import AllowedJob, run_job
from cdvae_service.models.store_errors import StoreError
from cdvae_service.results.result_store import open_store
from cdvae_service.telemetry.logs import NONE, configure_logging, job_in_logs
from cdvae_service.telemetry.tracing import context_from, export_traces, flush_traces, tracer
from worker.executor_protocol import Message
from worker.model.model_cache import LoadEngine, ModelCache, load_engine
from worker.results.analysis_pool import AnalysisPool
from worker.results.job_relaxation import LoadPotential, Relaxer, find_potential
from worker.supervisor.failures import record_failure
from worker.supervisor.leases import connect
from worker.worker_settings import WorkerSettings

log = logging.getLogger("worker.executor.executor")

FOLLOW_SECONDS = 5.0  # s between two looks at the model store for new versions
NICENESS = 10
"""The front end and the supervisor on the same cores take precedence. Where other programs keep all
cores busy, a tenth of each is left for the executor; in a separate container nothing changes.
"""


def main(
    load: LoadEngine = load_engine, potential: Callable[[], LoadPotential | None] = find_potential
) -> None:
    """Serve jobs until the input closes.

    load: loads a model. potential: returns the function that loads the interatomic potential.
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
    analysis = AnalysisPool(settings.threads)
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
    _serve(settings, first["worker"], models, analysis, relaxer, messages, reports)


def _read_in_background(commands: RawIOBase) -> queue.Queue[Message]:
    """Return the queue of messages; the process ends with its input, even during a job."""
    messages: queue.Queue[Message] = queue.Queue()

    def read() -> None:
        for line in commands:
            messages.put(json.loads(line))
        flush_traces()
        # `os._exit` skips the finalizers of multiprocessing, so that Ctrl-C would end with a
        # warning of leaked semaphores. The processes go first: they may still be starting.
        for process in multiprocessing.active_children():
            process.kill()
        multiprocessing.util._run_finalizers(0)  # type: ignore[attr-defined]
        os._exit(0)

    threading.Thread(target=read, name="worker-pipe", daemon=True).start()
    return messages


def _serve(
    settings: WorkerSettings,
    worker: str,
    models: ModelCache,
    analysis: AnalysisPool,
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
        except REDIS_GONE as error:
            log.warning("cannot begin job %s: %s", message["job"], error)
        except Exception:
            log.exception("job %s", message["job"])
        finally:
            state("done", job=message["job"])

    AllowedJob.functions = _functions(
        settings, worker, connection, models, analysis, relaxer, report
    )
    state("ready")

    def follow() -> None:
        while True:
            time.sleep(FOLLOW_SECONDS)
            if models.follow():
                state("models")

    threading.Thread(target=follow, name="follow-store", daemon=True).start()
    while True:
        message = messages.get()
        name = f"job-{message['job'][:8]}"
        threading.Thread(target=perform, args=(message,), name=name, daemon=True).start()


def _functions(
    settings: WorkerSettings,
    worker: str,
    connection: Redis,
    models: ModelCache,
    analysis: AnalysisPool,
    relaxer: Relaxer,
    report: Callable[[Message], None],
) -> dict[str, Callable[[Message], Message]]:
    from worker.batching.dynamic_batcher import DynamicBatcher
    from worker.executor import job_functions
    from worker.executor.redis_sync import RedisSync

    store, sync = open_store(settings.home, settings.results_url), RedisSync(connection, worker)

    def note_batch(crystals: int) -> None:
        report({"event": "batch", "crystals": crystals})

    context = job_functions.JobContext(
        store, connection, models, analysis, relaxer, DynamicBatcher(note_batch), sync, report
    )
    return {
        name: partial(getattr(job_functions, kind), context) for kind, name in FUNCTIONS.items()
    }


def _perform(worker: str, connection: Redis, message: Message) -> None:
    job = AllowedJob.load(message["job"], connection)
    with (
        job_in_logs(job.id, job.request_id or NONE),
        tracer.start_as_current_span("job", context_from(job.trace)) as span,
    ):
        span.set_attribute("cdvae.job.id", job.id)
        log.info("started: %s", job.description)
        done = run_job(job, message["execution"], worker, record_failure)
        log.info("ended: %s", "done" if done else "failed")


if __name__ == "__main__":
    main()
