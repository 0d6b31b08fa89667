"""The work-horse: the process that holds the models and runs the jobs, one after another.

It is told what to do by JSON lines on its standard input (first its settings, then one line a
job) and reports on the pipe whose number is its argument:

    {"event": "ready", "models": [...], "device": ...}    the models are loaded
    {"event": "chunk", ...}                               see worker.metrics
    {"event": "done", "models": [...], "device": ...}     the job is settled in Redis
    {"event": "models", "models": [...], "device": ...}   a new version was loaded between jobs

It ends when its input closes, even in the middle of a job: then the worker is gone.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import sys
import threading
from collections.abc import Callable
from functools import partial
from io import RawIOBase
from typing import BinaryIO

from redis import Redis
from rq.executions import Execution
from rq.queue import Queue
from rq.serializers import JSONSerializer
from rq.worker import BaseWorker

from cdvae.errors import ModelStoreError
from registry.errors import StoreError
from schema.wire import FUNCTIONS
from worker.allowed_job import AllowedJob
from worker.failures import record_failure
from worker.horse_process import Message
from worker.models import LoadEngine, Models, load_engine
from worker.settings import WorkerSettings

log = logging.getLogger("worker.horse")

FOLLOW_SECONDS = 5.0  # s without a job after which the model store is looked at


class Horse(BaseWorker):
    """RQ's side of running a job: states, time limit, result, failure."""

    job_class = AllowedJob


def main(load: LoadEngine = load_engine) -> None:
    """Serve jobs until the input closes; `load` makes a model ready to use."""
    reports = os.fdopen(int(sys.argv[1]), "wb", buffering=0)
    os.set_inheritable(reports.fileno(), False)
    # Unbuffered: a thread that waits in a buffered file would abort the interpreter at its exit.
    commands = open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)  # noqa: SIM115
    first = json.loads(commands.readline())
    settings = WorkerSettings.model_validate(first["settings"])
    configure_logging(settings.log_level)
    messages = _read_in_background(commands)
    from cdvae.compute import configure  # torch, which the parent's imports of this module spare

    configure(settings.threads)
    try:
        models = Models(settings, load)
        models.preload()
    except (ModelStoreError, StoreError) as error:
        log.error("no model to work with in %s: %s", settings.model_store, error)
        raise SystemExit(os.EX_CONFIG) from error
    _serve(settings, first["worker_key"], models, messages, reports)


def configure_logging(level: str) -> None:
    """Log to standard error, RQ's own messages from warnings on."""
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in ("rq.worker", "rq.job", "rq.registry"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _read_in_background(commands: RawIOBase) -> queue.Queue[Message]:
    """The messages to come. The process ends with its input, whatever it is doing then."""
    messages: queue.Queue[Message] = queue.Queue()

    def read() -> None:
        for line in commands:
            messages.put(json.loads(line))
        os._exit(0)

    threading.Thread(target=read, name="worker-pipe", daemon=True).start()
    return messages


def _serve(
    settings: WorkerSettings,
    worker_key: str,
    models: Models,
    messages: queue.Queue[Message],
    reports: BinaryIO,
) -> None:
    connection = Redis.from_url(settings.redis_url)
    horse = Horse.find_by_key(
        worker_key, connection, job_class=AllowedJob, serializer=JSONSerializer
    )
    if horse is None:
        raise SystemExit(f"the worker {worker_key} is not registered")
    horse.push_exc_handler(record_failure)  # type: ignore[no-untyped-call]
    horse.log_job_description = False
    horse.setup_work_horse_signals()  # type: ignore[no-untyped-call]

    def report(message: Message) -> None:
        reports.write(json.dumps(message).encode() + b"\n")

    AllowedJob.functions = _functions(settings, connection, models, report)
    report({"event": "ready", "models": models.loaded, "device": models.device})
    while True:
        try:
            message = messages.get(timeout=FOLLOW_SECONDS)
        except queue.Empty:
            if models.follow():
                report({"event": "models", "models": models.loaded, "device": models.device})
            continue
        _perform(horse, connection, message)
        report({"event": "done", "models": models.loaded, "device": models.device})


def _functions(
    settings: WorkerSettings,
    connection: Redis,
    models: Models,
    report: Callable[[Message], None],
) -> dict[str, Callable[[Message], Message]]:
    from worker import jobs

    context = jobs.Context(settings.home, connection, models, report)
    return {name: partial(getattr(jobs, kind), context) for kind, name in FUNCTIONS.items()}


def _perform(horse: BaseWorker, connection: Redis, message: Message) -> None:
    job = AllowedJob.fetch(message["job"], connection, JSONSerializer)
    execution = Execution.fetch(message["execution"], job.id, connection)
    execution._job = job
    horse.executions = {execution.id: execution}
    job_queue = Queue(
        message["queue"], connection=connection, job_class=AllowedJob, serializer=JSONSerializer
    )
    horse.perform_job(job, job_queue, execution)


if __name__ == "__main__":
    main()
