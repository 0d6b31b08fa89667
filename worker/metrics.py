"""Prometheus metrics of a worker, on a port of their own.

They live in the worker process, not in the work-horse, so that counters survive its restarts.
"""

from __future__ import annotations

import logging

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from rq.exceptions import DeserializationError, NoSuchJobError
from rq.job import Job, JobStatus
from rq.utils import as_text, now

from schema.wire import FIELD_STATE, FUNCTIONS
from worker.horse_process import Message

log = logging.getLogger(__name__)

_SECONDS = (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000, 10000, 30000)
_KINDS = {name: kind for kind, name in FUNCTIONS.items()}


class WorkerMetrics:
    """What one worker did."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
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
        self._batch = Histogram(
            "cdvae_batch_crystals", "Crystals in a batch.",
            buckets=(1, 4, 16, 64, 256, 1024), registry=self.registry,
        )  # fmt: skip
        self._gpu_memory = Gauge(
            "cdvae_gpu_memory_bytes", "Most GPU memory allocated.", registry=self.registry
        )

    def serve(self, host: str, port: int) -> None:
        """Answer scrapes from a thread; a port that is taken costs the metrics, not the worker."""
        try:
            start_http_server(port, host, registry=self.registry)
        except OSError as error:
            log.warning("no metrics on %s:%d: %s", host, port, error.strerror)

    def chunk_done(self, message: Message) -> None:
        """Count the crystals of a `chunk` message (see `worker.jobs`)."""
        model, crystals, valid = message["model"], message["crystals"], message["valid"]
        self._crystals.labels(model, "true").inc(valid)
        self._crystals.labels(model, "false").inc(crystals - valid)
        self._evaluations.labels(model).inc(message["score_evaluations"])
        self._batch.observe(crystals)
        self._gpu_memory.set(message["gpu_memory_bytes"])

    def job_ended(self, job: Job) -> None:
        """Count a job after its end, whatever that was; one that was requeued has not ended."""
        try:
            job.refresh()  # type: ignore[no-untyped-call]
            kind = _KINDS.get(job.func_name or "", "unknown")
            model = str(job.args[0]["model"]) if kind != "unknown" else "unknown"
        except (NoSuchJobError, DeserializationError, LookupError, TypeError):
            return
        status = job.get_status(refresh=False)
        if status not in (JobStatus.FINISHED, JobStatus.FAILED) or job.started_at is None:
            return
        state = "failed"
        if status == JobStatus.FINISHED:
            state = as_text(job.connection.hget(job.key, FIELD_STATE) or b"succeeded")
        self._finished.labels(kind, model, state).inc()
        if job.enqueued_at is not None:
            self._queue_seconds.observe((job.started_at - job.enqueued_at).total_seconds())
        ended = job.ended_at or now()
        self._run_seconds.labels(kind, model).observe((ended - job.started_at).total_seconds())
