"""Prometheus metrics of the front end: its requests, and the queue as Redis shows it."""

from collections.abc import Iterable
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis.exceptions import RedisError

from schema.wire import WorkerPresence

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class QueueView(Protocol):
    """What the collector wants to know of the queue."""

    def depths(self) -> dict[str, int]: ...

    def running(self) -> int: ...

    def workers(self) -> list[WorkerPresence]: ...


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
    """Reads the state of queue and workers when Prometheus asks."""

    def __init__(self, queue: QueueView) -> None:
        self._queue = queue

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        answers = GaugeMetricFamily("cdvae_redis_up", "1 where Redis answers.")
        try:
            depths, running = self._queue.depths(), self._queue.running()
            workers = self._queue.workers()
        except RedisError:
            answers.add_metric([], 0)
            return [answers]
        answers.add_metric([], 1)
        depth = GaugeMetricFamily("cdvae_queue_depth", "Jobs that wait.", labels=["queue"])
        for name, count in depths.items():
            depth.add_metric([name], count)
        jobs = GaugeMetricFamily("cdvae_jobs_running", "Jobs in work.", value=running)
        live = GaugeMetricFamily("cdvae_workers", "Live workers.", labels=["state"])
        for state in ("starting", "idle", "busy"):
            live.add_metric([state], sum(worker.state == state for worker in workers))
        return [answers, depth, jobs, live]
