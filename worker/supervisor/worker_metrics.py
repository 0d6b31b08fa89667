"""Prometheus metrics of a worker, on a separate port.

The supervisor keeps them in the files of prometheus-client's multiprocess mode, so that neither a
new executor nor a new worker starts from zero.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    start_http_server,
    values,
)
from prometheus_client.multiprocess import MultiProcessCollector

from cdvae_schema.wire import FUNCTIONS
from cdvae_service.jobstore.rq_adapter import (
    AllowedJob,
    DeserializationError,
    NoSuchJobError,
)
from cdvae_service.models.local_store import LocalStore
from worker.executor_protocol import Message

log = logging.getLogger(__name__)

_SECONDS = (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000, 10000, 30000)

_KINDS = {name: kind for kind, name in FUNCTIONS.items()}
_STATES = ("succeeded", "failed", "cancelled")
_UNKNOWN = "unknown"


class WorkerMetrics:
    """The metrics of one worker.

    Labels are kinds, states and the models of `store`, so that their number is bounded.
    error: the reason why the metrics are not served, or "".
    """

    def __init__(self, store: LocalStore, error: str = "") -> None:
        self.error = error
        self.registry = CollectorRegistry()
        self._store = store
        self._known: set[str] = set()
        self._finished = Counter(
            "cdvae_jobs_finished", "Jobs that ended.", ["kind", "model", "state"],
            registry=self.registry,
        )  # fmt: skip
        self._queue_seconds = Histogram(
            "cdvae_job_queue_seconds", "Time a job waited.",
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self._run_seconds = Histogram(
            "cdvae_job_run_seconds", "Time a job ran.", ["kind", "model"],
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self._crystals = Counter(
            "cdvae_crystals", "Crystals made.", ["model", "valid"], registry=self.registry
        )
        self._evaluations = Counter(
            "cdvae_score_evaluations", "Score evaluations, one for each crystal and step.",
            ["model"], registry=self.registry,
        )  # fmt: skip
        self._chunk = Histogram(
            "cdvae_chunk_crystals", "Crystals in a stored chunk of a job.",
            buckets=(1, 4, 16, 64, 256, 1024), registry=self.registry,
        )  # fmt: skip
        self._batch = Histogram(
            "cdvae_decode_batch_crystals", "Crystals in a batch, of one or several jobs.",
            buckets=(1, 4, 16, 64, 256, 1024), registry=self.registry,
        )  # fmt: skip
        self._gpu_memory = Gauge(
            "cdvae_gpu_memory_bytes", "Most GPU memory allocated.",
            registry=self.registry, multiprocess_mode="mostrecent",
        )  # fmt: skip
        self._gpu_total = Gauge(
            "cdvae_gpu_memory_total_bytes", "Memory of the GPU; 0 without one.",
            registry=self.registry, multiprocess_mode="mostrecent",
        )  # fmt: skip
        self._gpu_memory.set(0)
        self._gpu_total.set(0)

    def know(self, models: Iterable[str]) -> None:
        """Create the series of these models at zero, so that the first increase is visible."""
        for model in set(models) - self._known:
            self._known.add(model)
            self._evaluations.labels(model)
            for valid in ("true", "false"):
                self._crystals.labels(model, valid)
            for kind in FUNCTIONS:
                self._run_seconds.labels(kind, model)
                for state in _STATES:
                    self._finished.labels(kind, model, state)

    def chunk_done(self, message: Message) -> None:
        """Count the crystals of a `chunk` message (see `worker.executor.job_runner`)."""
        model, crystals, valid = message["model"], message["crystals"], message["valid"]
        self._crystals.labels(model, "true").inc(valid)
        self._crystals.labels(model, "false").inc(crystals - valid)
        self._evaluations.labels(model).inc(message["nfe"])
        self._chunk.observe(crystals)
        self._gpu_memory.set(message["gpu_memory_bytes"])
        self._gpu_total.set(message["gpu_memory_total_bytes"])

    def batch_started(self, crystals: int) -> None:
        """Count a batch of decodings."""
        self._batch.observe(crystals)

    def job_ended(self, job: AllowedJob) -> None:
        """Count a job that has succeeded, failed or been cancelled.

        `cdvae_service.jobstore.ledger.ENDED` ensures one call for a job.
        """
        try:
            job.refresh()  # type: ignore[no-untyped-call]
            kind = _KINDS.get(job.func_name or "", _UNKNOWN)
            model = self._label(job.args[0]["model"]) if kind != _UNKNOWN else _UNKNOWN
        except (NoSuchJobError, DeserializationError, LookupError, TypeError):
            return
        if not job.ended:
            return
        state = "failed" if job.failed else job.outcome or "succeeded"
        self._finished.labels(kind, model, state).inc()
        if job.started_at is None:  # its workers died before they began it
            return
        if job.enqueued_at is not None:
            self._queue_seconds.observe((job.started_at - job.enqueued_at).total_seconds())
        ended = job.ended_at or datetime.now(UTC)
        self._run_seconds.labels(kind, model).observe((ended - job.started_at).total_seconds())

    def _label(self, model: object) -> str:
        """Return the model if the store has it: data in Redis must not create series at will."""
        if isinstance(model, str) and (model in self._known or model in self._store.references()):
            self.know([model])
            return model
        return _UNKNOWN


def start(store: LocalStore, home: Path, host: str, port: int) -> WorkerMetrics:
    """Return the metrics of this process, served by a thread; port 0: not served.

    If the port is taken, the worker runs without metrics; its heartbeat carries the error, which
    `/readyz`, the front end's metrics and `cdvae doctor` report. The files belong to a host name
    and a port, so that the next worker there continues the counts.
    """
    if not port:
        return WorkerMetrics(store)
    registry = CollectorRegistry()
    try:
        start_http_server(port, host, registry=registry)
    except OSError as error:
        reason = f"no metrics on {host}:{port}: {error.strerror}"
        log.warning("%s", reason)
        return WorkerMetrics(store, reason)
    folder = home / "metrics" / f"{socket.gethostname()}-{port}"
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    # One process writes here. A fixed name makes its successor use the same files; process ids
    # would create new files at every start.
    values.ValueClass = values.MultiProcessValue(lambda: "worker")  # type: ignore[no-untyped-call]
    metrics = WorkerMetrics(store)
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    return metrics
