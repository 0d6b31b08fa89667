"""The real Prometheus against a running service: numbers by PromQL, panels, alerts at work."""

import json
import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.grafana.dashboards import BOARDS
from tests.deploy.prometheus import DEPLOY, Prometheus, Series
from tests.e2e.service import SRTIO3, Service
from tests.waiting import HANG_SECONDS

BOARD_FILES = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
WINDOW = "1m"


@pytest.fixture(scope="module")
def worked(service: Service, prometheus: Prometheus) -> dict[str, int]:
    """Send jobs to the service while Prometheus scrapes it; return their number by kind."""
    jobs = [service.submit("/generate", {"num_samples": 5, "seed": n}) for n in range(4)]
    jobs.append(service.submit("/reconstruct", SRTIO3))
    body = {"num_samples": 2, "steps": 20, "learning_rate": 0.05}
    jobs.append(service.submit("/optimize?property=formation_energy", body))
    assert service.call("POST", "/generate", {"num_samples": 0}).status == 422
    long = {"num_samples": 5000, "sampler": {"name": "langevin", "nfe": 5000}}
    for job in jobs:
        assert service.wait(job)["state"] == "succeeded"
    running = service.submit("/generate", long)
    queued = service.submit("/generate", long)
    service.wait(running, "running")
    prometheus.soon("max(cdvae_jobs_running)", 1)
    prometheus.soon('max(cdvae_queue_depth{queue="normal"})', 1)
    prometheus.soon('max(cdvae_workers{state="busy"})', 1)
    for job in (queued, running):
        service.call("DELETE", f"/jobs/{job}")
        service.wait(job, "cancelled")
    return {"generate": 6, "reconstruct": 1, "optimize": 1}


def test_the_numbers_come_back_by_promql(
    service: Service, prometheus: Prometheus, worked: dict[str, int]
) -> None:
    for kind, number in worked.items():
        prometheus.soon(f'sum(cdvae_jobs_submitted_total{{kind="{kind}",model="tiny@1"}})', number)
    prometheus.soon('sum(cdvae_jobs_finished_total{state="succeeded"})', 6)
    prometheus.soon('sum(cdvae_jobs_finished_total{state="cancelled"})', 2)
    prometheus.soon('sum(cdvae_jobs_finished_total{state="failed"})', 0)
    prometheus.soon("sum(cdvae_job_run_seconds_count)", 7)  # one was cancelled before it ran
    prometheus.soon("sum(cdvae_job_queue_seconds_count)", 7)
    prometheus.soon('sum(cdvae_http_requests_total{route="/generate",status="202"})', 6)
    prometheus.soon('sum(cdvae_http_requests_total{route="/generate",status="422"})', 1)
    prometheus.soon("max(cdvae_redis_up)", 1)
    prometheus.soon('max(cdvae_workers{state="idle"})', 1)
    # 20 generated, one reconstructed, two optimized, and what the cancelled job had finished.
    crystals = prometheus.value("sum(cdvae_crystals_total)")
    assert crystals is not None
    assert crystals >= 23
    # Counted from zero, so that an increase sees the first job of every kind too.
    prometheus.soon(
        'round(sum(increase(cdvae_jobs_submitted_total{kind="optimize"}[5m]))) > bool 0', 1
    )


def finite(answer: Series) -> list[float]:
    """Return the finite numbers of a vector."""
    values = [float(series["value"][1]) for series in answer]
    return [value for value in values if math.isfinite(value)]


def queries(panels: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for panel in panels:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


@pytest.mark.parametrize("file", BOARD_FILES, ids=lambda file: file.stem)
def test_every_panel_has_an_answer(
    file: Path, prometheus: Prometheus, worked: dict[str, int]
) -> None:
    board = json.loads(file.read_text())
    found = list(queries(board["panels"]))
    assert len(found) >= 10
    for title, expression in found:
        concrete = expression.replace("$__rate_interval", WINDOW).replace("$model", ".*")
        assert "$" not in concrete
        end = time.monotonic() + HANG_SECONDS  # rules and rates need a few rounds
        while not (numbers := finite(prometheus.query(concrete))) and time.monotonic() < end:
            time.sleep(0.5)
        assert numbers, f"{title}: {concrete} has no answer"


def test_the_committed_dashboards_are_those_of_the_code() -> None:
    assert {file.stem for file in BOARD_FILES} == set(BOARDS)
    for file in BOARD_FILES:
        assert file.read_text() == BOARDS[file.stem].json(), "renew: python -m deploy.grafana"


def test_panels_and_alerts_use_metrics_that_there_are(service: Service) -> None:
    texts = [file.read_text() for file in BOARD_FILES] + [(DEPLOY / "alerts.yml").read_text()]
    used = {name for text in texts for name in re.findall(r"\bcdvae_[a-z0-9_]+", text)}
    samples = service.metrics() | service.metrics(worker=True)
    there = {name.partition("{")[0] for name in samples}
    assert len(used) > 15
    assert used - there == set()
