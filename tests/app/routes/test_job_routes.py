"""The states of a job as its client sees them, with a worker that the test controls."""

import io
import json
import time
import zipfile
from pathlib import Path
from typing import Any

import gemmi
import pytest
from fastapi.testclient import TestClient
from redis import Redis

from cdvae_schema.job_results import SUMMARY
from cdvae_schema.job_specs import JobStatus
from cdvae_schema.outcomes import JobResult
from cdvae_schema.wire import ABSENCE, cancel_key
from cdvae_service.results.result_store import DirectoryStore
from tests.app.conftest import MakeClient, StandInWorker, record
from tests.app.problem_documents import problem
from tests.waiting import HANG_SECONDS


def post(client: TestClient, **body: Any) -> str:
    """Submit a job and return its path."""
    response = client.post("/generate", json={"num_samples": 4, **body})
    assert response.status_code == 202
    path: str = response.headers["location"]
    return path


def status(client: TestClient, path: str) -> JobStatus:
    response = client.get(path)
    assert response.status_code == 200, response.text
    return JobStatus.model_validate_json(response.text)


def test_from_queued_to_succeeded(client: TestClient, worker: StandInWorker) -> None:
    path = post(client)
    waiting = status(client, path)
    assert (waiting.state, waiting.queue_position) == ("queued", 1)
    assert "no worker is live" in waiting.progress.stage
    assert (waiting.started_at, waiting.finished_at, waiting.error) == (None, None, None)
    worker.announce()
    assert status(client, path).progress.stage == "waiting for a worker"
    problem(client.get(f"{path}/result"), 409)

    job, _ = worker.take()
    running = status(client, path)
    assert (running.state, running.queue_position) == ("running", None)
    assert running.started_at is not None
    assert running.started_at >= running.created_at
    worker.progress(
        job, fraction="0.5", stage="sampling", samples_done="2", samples_total="4", eta_seconds=""
    )
    progress = status(client, path).progress
    assert (progress.fraction, progress.stage, progress.samples_done) == (0.5, "sampling", 2)
    assert (progress.samples_total, progress.eta_seconds) == (4, None)
    worker.progress(job, eta_seconds="12.5")
    assert status(client, path).progress.eta_seconds == 12.5
    assert client.get(f"{path}/result").headers["retry-after"] == "1"

    worker.write(job, [[record(0), record(1)], [record(2), record(3)]])
    worker.end(job, "finished", "succeeded")
    done = status(client, path)
    assert done.state == "succeeded"
    assert done.progress.fraction == 1
    assert done.progress.samples_done == 4
    assert done.finished_at is not None
    assert done.links.result == f"{path}/result"


@pytest.mark.parametrize("nonsense", ["nan", "-3", "many", ""])
def test_odd_progress_does_no_harm(
    client: TestClient, worker: StandInWorker, nonsense: str
) -> None:
    path = post(client)
    worker.announce()
    job, _ = worker.take()
    worker.progress(job, fraction=nonsense, samples_done=nonsense, eta_seconds=nonsense)
    progress = status(client, path).progress
    assert (progress.fraction, progress.samples_done, progress.eta_seconds) == (0, 0, None)


@pytest.fixture
def finished(client: TestClient, worker: StandInWorker) -> str:
    """Return the path of a job with four crystals in two chunks."""
    path = post(client, seed=7)
    worker.announce()
    job, _ = worker.take()
    worker.write(job, [[record(0), record(1)], [record(2), record(3, reduced_formula="Ti/../x")]])
    worker.end(job, "finished", "succeeded")
    return path


def test_the_result_as_json(client: TestClient, finished: str) -> None:
    for headers in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}):
        response = client.get(f"{finished}/result", headers=headers)
        assert response.headers["content-type"] == "application/json"
        result = JobResult.model_validate_json(response.text)
        assert [one.index for one in result.crystals] == [0, 1, 2, 3]
        assert result.metrics == {"num_samples": 4}
        assert result.provenance is not None
        assert result.provenance.seed == 7
        assert result.job.state == "succeeded"


def test_the_result_as_cif(client: TestClient, finished: str) -> None:
    response = client.get(f"{finished}/result", headers={"Accept": "chemical/x-cif"})
    assert response.headers["content-type"].startswith("chemical/x-cif")
    document = gemmi.cif.read_string(response.text)
    names = [block.name for block in document]
    assert names == ["00000-SrTiO3", "00001-SrTiO3", "00002-SrTiO3", "00003-Ti..x"]
    assert "# index 3" in response.text


def test_the_result_as_lines(client: TestClient, finished: str) -> None:
    response = client.get(f"{finished}/result?format=ndjson")
    assert response.headers["content-type"].startswith("application/x-ndjson")
    assert [json.loads(line)["index"] for line in response.text.splitlines()] == [0, 1, 2, 3]


def test_the_result_as_zip(client: TestClient, finished: str) -> None:
    response = client.get(f"{finished}/result", headers={"Accept": "application/zip"})
    assert response.headers["content-type"] == "application/zip"
    assert response.headers["content-disposition"].endswith('.zip"')
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert len(names) == 9  # a CIF and a POSCAR for each, and the summary
        assert names[0] == "00000-SrTiO3.cif"
        assert not any("/" in name for name in names)
        summary = json.loads(archive.read("summary.json"))
        for entry in summary["crystals"]:
            gemmi.cif.read_string(archive.read(entry["file"]).decode()).sole_block()
            assert "cif" not in entry
        assert summary["metrics"] == {"num_samples": 4}
        assert summary["provenance"]["model"] == "tiny"
    again = client.get(f"{finished}/result", headers={"Accept": "application/zip"})
    assert again.content == response.content


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("chemical/x-cif;q=0.5, application/zip", "application/zip"),
        ("application/json;q=0.1, chemical/*", "chemical/x-cif"),
        ("text/html, */*;q=0.1", "application/json"),
        ("application/json;q=0, */*", "chemical/x-cif"),
    ],
)
def test_accept_is_weighed(client: TestClient, finished: str, accept: str, form: str) -> None:
    response = client.get(f"{finished}/result", headers={"Accept": accept})
    assert response.headers["content-type"].startswith(form)
    assert response.headers["vary"] == "Accept"


def test_forms_that_are_not_offered(client: TestClient, finished: str) -> None:
    problem(client.get(f"{finished}/result", headers={"Accept": "text/html"}), 406)
    problem(client.get(f"{finished}/result?format=xlsx"), 422)
    problem(client.get(f"{finished}/crystals/0?format=zip"), 422)


def test_one_crystal(client: TestClient, finished: str) -> None:
    assert client.get(f"{finished}/crystals/2").json()["index"] == 2
    text = client.get(f"{finished}/crystals/2?format=cif").text
    assert gemmi.cif.read_string(text).sole_block().name == "00002-SrTiO3"
    problem(client.get(f"{finished}/crystals/4"), 404)
    problem(client.get(f"{finished}/crystals/-1"), 422)
    problem(client.get(f"{finished}/crystals/x"), 422)


def test_the_workers_order_is_kept(client: TestClient, worker: StandInWorker) -> None:
    path = post(client)
    job, _ = worker.take()
    worker.write(job, [[record(0), record(1)], [record(2)]], order=[2, 0, 1])
    worker.end(job, "finished", "succeeded")
    crystals = client.get(f"{path}/result").json()["crystals"]
    assert [one["index"] for one in crystals] == [2, 0, 1]


def test_records_of_the_other_tasks_are_told_apart(
    client: TestClient, worker: StandInWorker
) -> None:
    path = post(client)
    job, _ = worker.take()
    consistency = {"latent_mse": 0.1, "score_residual": 0.02, "property_gap": 0.3}
    reconstructed = record(0, source=0, matched=True, rmse=0.01, consistency=consistency, rank=1)
    reached = {"start_value": 1.0, "trajectory": [1.0, 0.5], "percentile": 5.0}
    gains = {"predicted_gain": -0.5, "validated_gain": -0.4, "gap": -0.1}
    outcome = {"property": "formation_energy", **reached, **gains}
    optimized = record(1, source=None, **reached, objectives=[outcome])
    interpolated = record(2, position=0.5, distances=[0.4, 0.6])
    varied = record(3, distance=0.2, rmse=None)
    worker.write(job, [[reconstructed, optimized], [interpolated, varied]])
    worker.end(job, "finished", "succeeded")
    result = JobResult.model_validate_json(client.get(f"{path}/result").text)
    assert [type(one).__name__ for one in result.crystals] == [
        "ReconstructedRecord",
        "OptimizedRecord",
        "InterpolatedRecord",
        "VariedRecord",
    ]


def test_a_lost_result_is_gone(client: TestClient, worker: StandInWorker, tmp_path: Path) -> None:
    path = post(client)
    job, _ = worker.take()
    worker.write(job, [[record(0)]])
    worker.end(job, "finished", "succeeded")
    DirectoryStore(tmp_path / "home" / "results").delete(job.id, [SUMMARY])
    problem(client.get(f"{path}/result"), 410)


def test_cancelling_a_queued_job(
    client: TestClient, worker: StandInWorker, redis_client: Redis
) -> None:
    path, other = post(client), post(client)
    response = client.delete(path)
    assert response.status_code == 200
    assert response.json()["state"] == "cancelled"
    assert response.json()["finished_at"] is not None
    assert status(client, path).state == "cancelled"
    assert status(client, other).queue_position == 1
    job, _ = worker.take()
    assert other.endswith(job.id)
    identity = path.rpartition("/")[2]
    assert 0 < redis_client.ttl(f"rq:job:{identity}") <= 7 * 24 * 3600
    assert redis_client.zcard("rq:canceled:normal") == 0
    result = JobResult.model_validate_json(client.get(f"{path}/result").text)
    assert (result.crystals, result.metrics, result.provenance) == ([], None, None)
    assert client.delete(path).status_code == 200


def test_cancelling_a_running_job_keeps_what_is_done(
    client: TestClient, worker: StandInWorker, redis_client: Redis
) -> None:
    path = post(client)
    worker.announce()
    job, _ = worker.take()
    response = client.delete(path)
    assert response.status_code == 202
    assert response.json()["state"] == "running"
    assert redis_client.exists(cancel_key(job.id))
    worker.progress(job, fraction="0.25", samples_done="1")
    worker.write(job, [[record(0)]], state="cancelled")
    worker.end(job, "finished", "cancelled")
    ended = status(client, path)
    assert (ended.state, ended.progress.samples_done) == ("cancelled", 1)
    assert ended.progress.stage == "cancelled"
    assert len(client.get(f"{path}/result").json()["crystals"]) == 1


def test_cancelling_a_finished_job_changes_nothing(client: TestClient, finished: str) -> None:
    response = client.delete(finished)
    assert response.status_code == 200
    assert response.json()["state"] == "succeeded"
    assert client.get(f"{finished}/result").status_code == 200


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"code": "non_finite_sample", "detail": "Crystal 3 became NaN."}, "non_finite_sample"),
        ({"code": "Not A Code", "detail": ""}, "internal_error"),
        (None, "internal_error"),
    ],
)
def test_failures_have_a_code_and_a_sentence(
    client: TestClient, worker: StandInWorker, error: dict[str, str] | None, code: str
) -> None:
    path = post(client)
    worker.announce()
    job, _ = worker.take()
    worker.fail(job, error)
    failed = status(client, path)
    assert failed.state == "failed"
    assert failed.finished_at is not None
    assert failed.error is not None
    assert failed.error.code == code
    assert failed.error.detail.endswith(".")
    assert "secret" not in client.get(path).text
    answer = problem(client.get(f"{path}/result"), 409)
    assert failed.error.detail in answer["detail"]


def wait_for(client: TestClient, path: str, state: str) -> JobStatus:
    """Wait until the job is in this state and return its status."""
    end = time.monotonic() + HANG_SECONDS
    while time.monotonic() < end:
        found = status(client, path)
        if found.state == state:
            return found
        time.sleep(0.1)
    raise AssertionError(f"still {found.state}")


def test_a_dead_workers_job_is_tried_once_more_and_then_fails(
    client: TestClient, worker: StandInWorker
) -> None:
    path = post(client)
    worker.announce()
    job, _ = worker.take()
    worker.vanish()
    waiting = wait_for(client, path, "queued")
    assert waiting.queue_position == 1
    assert waiting.started_at is None
    worker.announce()
    assert worker.take()[0].id == job.id
    worker.vanish()
    lost = wait_for(client, path, "failed")
    assert lost.error is not None
    assert lost.error.code == "worker_lost"
    assert lost.finished_at is not None
    assert "cdvae_jobs_running 0.0" in client.get("/metrics").text


def test_a_job_that_was_taken_but_never_started_comes_back(
    client: TestClient, worker: StandInWorker
) -> None:
    path = post(client)
    assert path.endswith(str(worker.ledger.take(["normal"])))  # and the worker dies
    assert status(client, path).queue_position is None
    end = time.monotonic() + HANG_SECONDS
    while status(client, path).queue_position != 1 and time.monotonic() < end:
        time.sleep(0.1)
    assert status(client, path).queue_position == 1


def test_a_live_workers_job_goes_on(client: TestClient, worker: StandInWorker) -> None:
    path = post(client)
    worker.take()
    end = time.monotonic() + ABSENCE + 3
    while time.monotonic() < end:
        worker.announce(state="busy")
        assert status(client, path).state == "running"
        time.sleep(0.5)
    assert "cdvae_jobs_running 1.0" in client.get("/metrics").text


def test_other_peoples_rq_jobs_are_not_shown(client: TestClient, redis_client: Redis) -> None:
    from rq import Queue
    from rq.serializers import JSONSerializer

    foreign = Queue("normal", connection=redis_client, serializer=JSONSerializer).enqueue(
        "os.getcwd"
    )
    problem(client.get(f"/jobs/{foreign.id}"), 404)


def test_results_outlive_the_application(
    make_client: MakeClient, redis_url: str, client: TestClient, finished: str
) -> None:
    second = make_client(redis_url=redis_url)
    assert len(second.get(f"{finished}/result").json()["crystals"]) == 4
