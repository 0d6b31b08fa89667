"""Prometheus metrics of the front end: its requests, and the queue as Redis shows it."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.queue import QueueSnapshot

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class HttpMetrics:
    """Counters of HTTP requests."""

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
        """Counts one request."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)


class JobMetrics:
    """Counters of what this process put on the queue."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._submitted = Counter(
            "cdvae_jobs_submitted", "Jobs put on the queue.", ["kind", "model"], registry=registry
        )

    def submitted(self, kind: str, model: str) -> None:
        """Counts one job."""
        self._submitted.labels(kind, model).inc()


class QueueCollector(Collector):
    """The state of queue and workers at one moment; None where Redis does not answer."""

    def __init__(self, snapshot: QueueSnapshot | None) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        answers = GaugeMetricFamily("cdvae_redis_up", "1 where Redis answers.")
        answers.add_metric([], self._snapshot is not None)
        if self._snapshot is None:
            return [answers]
        depth = GaugeMetricFamily("cdvae_queue_depth", "Jobs that wait.", labels=["queue"])
        for name, count in self._snapshot.depths.items():
            depth.add_metric([name], count)
        jobs = GaugeMetricFamily("cdvae_jobs_running", "Jobs in work.", self._snapshot.running)
        live = GaugeMetricFamily("cdvae_workers", "Live workers.", labels=["state"])
        for state in ("starting", "idle", "busy"):
            live.add_metric([state], sum(one.state == state for one in self._snapshot.workers))
        return [answers, depth, jobs, live]
