"""Prometheus gauges that are computed on each scrape: queue, workers, disk, models."""

import logging
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.model_cards import ModelStore
from app.queue.occupancy import Occupancy
from cdvae_service.models.store_errors import StoreError

log = logging.getLogger(__name__)


class QueueCollector(Collector):
    """Queue and workers, the same for every front end; None if Redis does not answer."""

    def __init__(self, occupancy: Occupancy | None) -> None:
        self._occupancy = occupancy

    def collect(self) -> Iterable[Metric]:
        answers = GaugeMetricFamily("cdvae_redis_up", "1 if Redis answers.")
        answers.add_metric([], self._occupancy is not None)
        if self._occupancy is None:
            return [answers]
        depth = GaugeMetricFamily("cdvae_queue_depth", "Waiting jobs.", labels=["queue"])
        for name, count in self._occupancy.depths.items():
            depth.add_metric([name], count)
        oldest = GaugeMetricFamily(
            "cdvae_queue_oldest_seconds", "Waiting time of the next job.", labels=["queue"]
        )
        for name, age in self._occupancy.oldest.items():
            oldest.add_metric([name], age)
        jobs = GaugeMetricFamily(
            "cdvae_jobs_running", "Running jobs.", value=self._occupancy.running
        )
        live = GaugeMetricFamily("cdvae_workers", "Live workers.", labels=["state"])
        for state in ("starting", "idle", "busy"):
            live.add_metric([state], sum(one.state == state for one in self._occupancy.workers))
        unseen = GaugeMetricFamily(
            "cdvae_workers_without_metrics",
            "Live workers that could not publish their metrics.",
            value=sum(bool(one.metrics_error) for one in self._occupancy.workers),
        )
        return [answers, depth, oldest, jobs, live, unseen]


class DiskCollector(Collector):
    """The file system of the results."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        try:
            usage = shutil.disk_usage(self._home)
        except OSError:  # nothing is written yet, or the volume is missing
            return
        yield GaugeMetricFamily(
            "cdvae_disk_free_bytes", "Free space for results.", value=usage.free
        )
        yield GaugeMetricFamily("cdvae_disk_size_bytes", "Space for results.", value=usage.total)


class CardCollector(Collector):
    """The validity on the cards, for comparison with the crystals of the workers."""

    def __init__(self, models: ModelStore) -> None:
        self._models = models

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        validity = GaugeMetricFamily(
            "cdvae_model_validity",
            "Share of valid crystals when the model's card was measured.",
            labels=["model"],
        )
        for reference in self._models.references():
            try:
                value = self._models.card(reference).quality.get("generation", {}).get("validity")
            except StoreError as error:
                log.warning("%s", error)
                continue
            if value is not None:
                validity.add_metric([reference], value)
        yield validity
