"""Counters are exact: with several API processes, and after a worker or a process was killed."""

import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from cdvae_service.cli.stack.core_pinning import ALL
from tests.e2e.service import Service
from tests.waiting import HANG_SECONDS

PROCESSES = 3
KIND = 'kind="generate",model="tiny@1"'
SUBMITTED = f"cdvae_jobs_submitted_total{{{KIND}}}"
SUCCEEDED = f'cdvae_jobs_finished_total{{{KIND},state="succeeded"}}'
FAILED = f'cdvae_jobs_finished_total{{{KIND},state="failed"}}'
LONG = {"num_samples": 5000, "sampler": {"name": "langevin", "nfe": 5000}}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(
        tmp_path_factory.mktemp("service"), settings={"CDVAE_API_PROCESSES": str(PROCESSES)}
    )
    service.start()
    yield service
    assert service.stop() == 0, service.log.read_text()


def api_processes(service: Service) -> list[psutil.Process]:
    """Return the processes that answer requests, without their parent."""
    (parent,) = [p for p in service.processes() if "api" in p.cmdline()]
    return [p for p in parent.children() if "spawn_main" in " ".join(p.cmdline())]


def cores_of(service: Service) -> set[tuple[int, ...]]:
    """Return the different sets of cores of the processes."""
    return {tuple(process.cpu_affinity()) for process in api_processes(service)}


def soon(value: Callable[[], float], wanted: float) -> None:
    """Wait for the counters: a worker counts a job shortly after its end is visible."""
    end = time.monotonic() + HANG_SECONDS
    while value() != wanted and time.monotonic() < end:
        time.sleep(0.1)
    assert value() == wanted


def test_every_process_says_the_same(service: Service) -> None:
    assert len(api_processes(service)) == PROCESSES
    assert len(cores_of(service)) == min(PROCESSES, len(ALL))
    jobs = [service.submit("/generate", {"num_samples": 1}) for _ in range(12)]
    for job in jobs:
        assert service.wait(job)["state"] == "succeeded"
    # Each request uses a new connection, which any process may accept.
    assert [service.metrics()[SUBMITTED] for _ in range(12)] == [12] * 12
    soon(lambda: service.metrics(worker=True)[SUCCEEDED], 12)
    crystals = [f'cdvae_crystals_total{{model="tiny@1",valid="{x}"}}' for x in ("true", "false")]
    worker = service.metrics(worker=True)
    assert sum(worker[series] for series in crystals) == 12
    assert worker['cdvae_score_evaluations_total{model="tiny@1"}'] == 12 * 98  # NFE
    assert worker["cdvae_chunk_crystals_count"] == 12
    assert worker["cdvae_job_queue_seconds_count"] == 12
    assert worker[f"cdvae_job_run_seconds_count{{{KIND}}}"] == 12


def test_a_killed_api_process_has_been_counted(service: Service) -> None:
    before = service.metrics()
    victim = api_processes(service)[0]
    victim.kill()
    psutil.wait_procs([victim], timeout=HANG_SECONDS)
    soon(lambda: len(api_processes(service)), PROCESSES)
    soon(lambda: service.call("GET", "/healthz").status, 200)
    soon(lambda: len(cores_of(service)), min(PROCESSES, len(ALL)))
    after = service.metrics()
    assert after[SUBMITTED] == before[SUBMITTED]
    asked = 'cdvae_http_requests_total{method="GET",route="/metrics",status="200"}'
    assert after[asked] == before[asked] + 1


def test_a_killed_worker_goes_on_counting(service: Service) -> None:
    before = service.metrics(worker=True)
    lost = service.submit("/generate", LONG)
    started = service.wait(lost, "running")["started_at"]
    service.worker().kill()
    service.wait_until(lambda: service.started_again(lost, started))
    service.worker().kill()
    assert service.wait(lost, timeout=HANG_SECONDS)["state"] == "failed"
    assert service.wait(service.submit("/generate", {"num_samples": 2}))["state"] == "succeeded"
    soon(lambda: service.metrics(worker=True)[SUCCEEDED], before[SUCCEEDED] + 1)
    # The lost job is counted once, by the front end or by the next worker.
    soon(lambda: service.metrics()[FAILED] + service.metrics(worker=True)[FAILED], 1)
    queued = service.submit("/generate", {**LONG, "priority": "bulk"})
    service.call("DELETE", f"/jobs/{queued}")
    service.wait(queued, "cancelled")

    def ended() -> float:
        return sum(
            value
            for metrics in (service.metrics(), service.metrics(worker=True))
            for name, value in metrics.items()
            if name.startswith("cdvae_jobs_finished_total")
        )

    soon(ended, service.metrics()[SUBMITTED])
