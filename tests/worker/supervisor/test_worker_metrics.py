"""The metrics of a worker, for jobs in Redis."""

import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from redis import Redis
from rq import Queue
from rq.job import JobStatus
from rq.serializers import JSONSerializer

from cdvae_schema.wire import FIELD_STATE, FUNCTIONS
from cdvae_service.jobstore.rq_adapter import AllowedJob
from cdvae_service.models.local_store import LocalStore
from worker.supervisor.worker_metrics import WorkerMetrics, start

ROOT = Path(__file__).parents[3]
SHIPPED = LocalStore(ROOT / "model_store")

GENERATE = FUNCTIONS["generate"]
MakeJob = Callable[..., AllowedJob]


@pytest.fixture
def ended(redis_client: Redis) -> MakeJob:
    """Return a function that makes a job that waited 2 s and ran 5 s."""

    def make(
        model: object,
        function: str = "worker.executor.job_functions.generate",
        status: str = "finished",
    ) -> AllowedJob:
        queue = Queue("normal", connection=redis_client, serializer=JSONSerializer)
        job = queue.enqueue_call(function, args=({"model": model},), result_ttl=60)
        now = datetime.now(UTC)
        job.enqueued_at, job.started_at = now - timedelta(seconds=7), now - timedelta(seconds=5)
        job.ended_at = now
        job.save()
        redis_client.hset(job.key, FIELD_STATE, "succeeded")
        job.set_status(JobStatus(status))
        return AllowedJob(job.id, redis_client, JSONSerializer)

    return make


def value(metrics: WorkerMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_a_job_is_counted_with_its_times(ended: MakeJob) -> None:
    metrics = WorkerMetrics(SHIPPED)
    job = ended("perov-5@2")
    metrics.job_ended(job)
    labels = {"kind": "generate", "model": "perov-5@2"}
    assert value(metrics, "cdvae_jobs_finished_total", **labels, state="succeeded") == 1
    assert value(metrics, "cdvae_jobs_finished_total", **labels, state="failed") == 0
    assert value(metrics, "cdvae_job_queue_seconds_sum") == pytest.approx(2)
    assert value(metrics, "cdvae_job_run_seconds_sum", **labels) == pytest.approx(5)


@pytest.mark.parametrize("model", ["made-up@1", "perov-5@999", "x" * 5000, None, 7, {"a": 1}])
def test_what_stands_in_redis_makes_no_series_at_will(ended: MakeJob, model: object) -> None:
    metrics = WorkerMetrics(SHIPPED)
    metrics.job_ended(ended(model, status="failed"))
    assert (
        value(
            metrics, "cdvae_jobs_finished_total", kind="generate", model="unknown", state="failed"
        )
        == 1
    )
    series = [s for m in metrics.registry.collect() for s in m.samples if "model" in s.labels]
    assert {s.labels["model"] for s in series} == {"unknown"}


def test_a_forbidden_function_is_no_kind(ended: MakeJob) -> None:
    metrics = WorkerMetrics(SHIPPED)
    metrics.job_ended(ended("perov-5@2", "os.system", "failed"))
    labels = {"kind": "unknown", "model": "unknown", "state": "failed"}
    assert value(metrics, "cdvae_jobs_finished_total", **labels) == 1


def test_a_job_that_goes_back_to_its_queue_has_not_ended(ended: MakeJob) -> None:
    metrics = WorkerMetrics(SHIPPED)
    metrics.job_ended(ended("perov-5@2", status="queued"))
    assert value(metrics, "cdvae_job_queue_seconds_count") == 0


def test_a_port_that_is_taken_costs_the_metrics_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, ended: MakeJob
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        metrics = start(SHIPPED, tmp_path, "127.0.0.1", port)
    assert str(port) in metrics.error
    assert f"127.0.0.1:{port}" in caplog.text
    metrics.job_ended(ended("perov-5@2"))


def test_counting_costs_little_of_sampling() -> None:
    """Run the benchmark on a job a tenth as long as the smallest useful one."""
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks.speed.metrics_overhead",
            "--crystals",
            "4",
            "--steps",
            "10",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
