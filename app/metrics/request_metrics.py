"""Prometheus counters of the front end.

Under `cdvae api` prometheus-client stores the counters of every process in files of one
folder, so that each process reports the sum over all of them, including dead ones.
"""

import os
from collections.abc import Iterable
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from cdvae_schema.job_specs import JobKind, JobState

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class HttpMetrics:
    """Count HTTP requests."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "cdvae_http_requests",
            "HTTP requests.",
            ["method", "route", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "cdvae_http_request_seconds",
            "Time to answer an HTTP request.",
            ["method", "route"],
            buckets=_SECONDS,
            registry=registry,
        )

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)


class JobMetrics:
    """Count the jobs that this front end queues or ends."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._submitted = Counter(
            "cdvae_jobs_submitted", "Jobs put on the queue.", ["kind", "model"], registry=registry
        )
        self._finished = Counter(
            "cdvae_jobs_finished",
            "Jobs that ended.",
            ["kind", "model", "state"],
            registry=registry,
        )

    def know(self, models: Iterable[str]) -> None:
        """Create the series of these models at zero: Prometheus sees an increase only from 0."""
        for model in models:
            for kind in get_args(JobKind):
                self._submitted.labels(kind, model)
                self._finished.labels(kind, model, "cancelled")
                self._finished.labels(kind, model, "failed")

    def submitted(self, kind: JobKind, model: str) -> None:
        """Count one job."""
        self._submitted.labels(kind, model).inc()

    def ended(self, kind: JobKind, model: str, state: JobState) -> None:
        """Count a job that was cancelled in the queue or failed because its worker died."""
        self._finished.labels(kind, model, state).inc()


def exposition(counters: CollectorRegistry, *state: CollectorRegistry) -> bytes:
    """Return the counters of all processes and the current state of the service as text."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder is not None:
        counters = CollectorRegistry()
        MultiProcessCollector(counters, folder)  # type: ignore[no-untyped-call]
    return b"".join(map(generate_latest, (counters, *state)))
