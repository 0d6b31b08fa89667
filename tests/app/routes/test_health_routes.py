"""Health, metrics, models, documentation, and an outage of Redis."""

import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.dependencies import Services
from app.model_cards import ModelStore
from cdvae_schema.wire import FIELD_ATTEMPTS, MAX_LOST
from cdvae_service.models.local_store import LocalStore
from cdvae_service.models.store_errors import BrokenModelError, UnknownModelError
from tests.app.conftest import CARD, MakeClient, StandInWorker, write_card
from tests.app.problem_documents import problem
from tests.conftest import RedisServer
from tests.waiting import HANG_SECONDS


def test_it_starts_without_redis(make_client: MakeClient, tmp_path: Path) -> None:
    client = make_client(redis_url=f"unix://{tmp_path}/nothing.sock")
    assert client.get("/healthz").json() == {"status": "ok"}
    answer = problem(client.get("/readyz"), 503)
    assert "Redis does not answer" in answer["detail"]
    for response in (
        client.post("/generate"),
        client.post("/optimize?property=formation_energy"),
        client.get("/jobs/x"),
        client.get("/jobs/x/result"),
        client.delete("/jobs/x"),
    ):
        problem(response, 503)
        assert int(response.headers["retry-after"]) > 0
    assert client.get("/models").status_code == 200
    assert "cdvae_redis_up 0.0" in client.get("/metrics").text


def test_redis_may_go_and_come_back(make_client: MakeClient, redis_server: RedisServer) -> None:
    client = make_client(redis_url=redis_server.url)
    assert client.post("/generate").status_code == 202
    redis_server.stop()
    problem(client.post("/generate"), 503)
    problem(client.get("/readyz"), 503)
    redis_server.start()
    assert client.get("/readyz").status_code == 200
    assert client.post("/generate").status_code == 202


def test_readiness_counts_workers(client: TestClient, worker: StandInWorker) -> None:
    assert client.get("/readyz").json() == {
        "status": "ready",
        "models": ["tiny@1"],
        "workers": {"live": 0, "with_model": 0, "without_metrics": 0},
    }
    answer = problem(client.get("/readyz?workers=1"), 503)
    assert answer["workers"] == {"live": 0, "with_model": 0, "without_metrics": 0}
    worker.announce(models=(), state="starting")
    answer = problem(client.get("/readyz?workers=1"), 503)
    assert answer["workers"] == {"live": 1, "with_model": 0, "without_metrics": 0}
    worker.announce()
    count = client.get("/readyz?workers=1").json()["workers"]
    assert count == {"live": 1, "with_model": 1, "without_metrics": 0}
    worker.announce(metrics_error="no metrics on 127.0.0.1:9464: Address already in use")
    assert client.get("/readyz").json()["workers"]["without_metrics"] == 1
    assert "cdvae_workers_without_metrics 1.0" in client.get("/metrics").text
    problem(client.get("/readyz?workers=2"), 503)
    worker.vanish()
    problem(client.get("/readyz?workers=1"), 503)
    problem(client.get("/readyz?workers=x"), 422)


def test_readiness_needs_cards(client: TestClient, store: Path) -> None:
    card = store / "tiny" / "1" / "card.json"
    card.write_text("{}")
    assert "tiny@1" in problem(client.get("/readyz"), 503)["detail"]
    problem(client.get("/models"), 503)
    card.unlink()
    assert "empty" in problem(client.get("/readyz"), 503)["detail"]
    assert client.get("/models").json() == {"default": "tiny", "models": []}


def test_models(client: TestClient, store: Path) -> None:
    write_card(store, name="other", version="9")
    write_card(store, name="other", version="10", description="newest")
    listed = client.get("/models").json()
    assert listed["default"] == "tiny"
    assert [(one["name"], one["version"]) for one in listed["models"]] == [
        ("other", "10"),
        ("tiny", "1"),
    ]
    assert client.get("/models/other").json()["description"] == "newest"
    assert client.get("/models/other@9").json()["version"] == "9"
    assert client.get("/models/tiny").json() == CARD
    assert "10, 9" in problem(client.get("/models/other@1"), 404)["detail"]


def test_the_store_reads_a_changed_card_again(store: Path) -> None:
    models = ModelStore(LocalStore(store))
    assert models.card("tiny").description == CARD["description"]
    path = write_card(store, description="changed")
    stat = path.stat()
    import os

    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert models.card("tiny").description == "changed"


def test_the_store_without_a_default(tmp_path: Path) -> None:
    models = ModelStore(LocalStore(tmp_path / "nowhere"))
    with pytest.raises(UnknownModelError, match="no default"):
        models.card(None)
    write_card(tmp_path / "nowhere", name="only")
    assert models.card(None).name == "only"
    write_card(tmp_path / "nowhere", name="second")
    with pytest.raises(UnknownModelError, match="no default"):
        models.card(None)


def test_a_card_belongs_to_its_folder(store: Path) -> None:
    (store / "tiny" / "1").rename(store / "tiny" / "2")
    with pytest.raises(BrokenModelError, match="belongs to tiny@1"):
        ModelStore(LocalStore(store)).card("tiny")


def test_metrics(client: TestClient, worker: StandInWorker) -> None:
    client.post("/generate", json={"priority": "bulk"})
    client.post("/generate", json={"num_samples": 0})
    worker.announce(state="busy")
    client.get("/jobs/abc")
    client.get("/nope/1")
    client.request("BREW", "/nope/2")
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    lines = response.text.splitlines()
    for line in (
        'cdvae_jobs_submitted_total{kind="generate",model="tiny@1"} 1.0',
        'cdvae_queue_depth{queue="bulk"} 1.0',
        'cdvae_queue_depth{queue="interactive"} 0.0',
        "cdvae_jobs_running 0.0",
        'cdvae_workers{state="busy"} 1.0',
        'cdvae_workers{state="idle"} 0.0',
        'cdvae_http_requests_total{method="POST",route="/generate",status="202"} 1.0',
        'cdvae_http_requests_total{method="POST",route="/generate",status="422"} 1.0',
        'cdvae_http_requests_total{method="GET",route="/jobs/{job_id}",status="404"} 1.0',
        'cdvae_http_requests_total{method="GET",route="unmatched",status="404"} 1.0',
        'cdvae_http_requests_total{method="OTHER",route="unmatched",status="404"} 1.0',
        'cdvae_http_request_seconds_count{method="POST",route="/generate"} 2.0',
    ):
        assert line in lines, response.text


def test_jobs_that_end_in_the_front_end_are_counted_once(
    make_client: MakeClient, worker: StandInWorker, redis_url: str
) -> None:
    """One job is cancelled in the queue, the other lost with its worker; two front ends run."""
    clients = [make_client(redis_url=redis_url) for _ in range(2)]
    lost = clients[0].post("/generate").json()["id"]
    worker.redis.hset(f"rq:job:{lost}", FIELD_ATTEMPTS, MAX_LOST)
    worker.take()
    cancelled = clients[0].post("/generate").json()["id"]
    for client in reversed(clients):
        assert client.delete(f"/jobs/{cancelled}").json()["state"] == "cancelled"
    assert ended(clients, "cancelled") == [0, 1]
    end = time.monotonic() + HANG_SECONDS
    while ended(clients, "failed") == [0, 0]:
        assert time.monotonic() < end
        time.sleep(0.2)
    for client in clients:  # each front end looks again
        assert client.portal is not None
        assert client.portal.call(services_of(client).queue.rescue, worker.name) == []
    for client in clients:
        assert client.get(f"/jobs/{lost}").json()["error"]["code"] == "worker_lost"
    assert ended(clients, "failed") == [0, 1]
    assert ended(clients, "cancelled") == [0, 1]


def services_of(client: TestClient) -> Services:
    """Return the services of the client's application."""
    services: Services = client.app.state.services  # type: ignore[attr-defined]
    return services


def ended(clients: list[TestClient], state: str) -> list[float]:
    """Return the jobs of the model that each front end counted, in ascending order."""
    series = f'cdvae_jobs_finished_total{{kind="generate",model="tiny@1",state="{state}"}} '
    lines = [line for client in clients for line in client.get("/metrics").text.splitlines()]
    return sorted(float(line.split()[-1]) for line in lines if line.startswith(series))


def test_gauges_of_queue_disk_and_cards(
    client: TestClient, worker: StandInWorker, store: Path, tmp_path: Path
) -> None:
    write_card(store, version="2", quality={"generation": {"validity": 0.75}})
    (tmp_path / "home").mkdir()
    job = client.post("/generate", json={"priority": "bulk"}).json()["id"]
    long_ago = datetime.now(UTC) - timedelta(seconds=500)
    worker.redis.hset(f"rq:job:{job}", "enqueued_at", long_ago.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
    values = {
        line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1])
        for line in client.get("/metrics").text.splitlines()
        if not line.startswith("#")
    }
    assert 500 <= values['cdvae_queue_oldest_seconds{queue="bulk"}'] < 530
    assert values['cdvae_queue_oldest_seconds{queue="normal"}'] == 0
    assert values['cdvae_model_validity{model="tiny@2"}'] == 0.75
    assert 'cdvae_model_validity{model="tiny@1"}' not in values
    assert 0 < values["cdvae_disk_free_bytes"] <= values["cdvae_disk_size_bytes"]
    assert values['cdvae_jobs_submitted_total{kind="optimize",model="tiny@1"}'] == 0


def test_two_applications_count_apart(make_client: MakeClient, redis_url: str) -> None:
    first, second = make_client(redis_url=redis_url), make_client(redis_url=redis_url)
    first.get("/healthz")
    assert "/healthz" in first.get("/metrics").text
    assert "/healthz" not in second.get("/metrics").text


@pytest.mark.parametrize("given", ["abc-123", "a.b:c_D"])
def test_a_request_id_is_echoed(client: TestClient, given: str) -> None:
    headers = {"X-Request-ID": given}
    assert client.get("/healthz", headers=headers).headers["x-request-id"] == given
    assert client.get("/nope", headers=headers).headers["x-request-id"] == given


@pytest.mark.parametrize("given", [None, "", "a b", "x" * 200, "a\tb"])
def test_other_requests_get_an_id(client: TestClient, given: str | None) -> None:
    headers = {} if given is None else {"X-Request-ID": given}
    answered = client.get("/healthz", headers=headers).headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", answered)


def test_a_fault_of_ours_is_a_bare_500(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: ModelStore) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(ModelStore, "cards", fail)
    response = client.get("/models")
    answer = problem(response, 500)
    assert "secret" not in response.text
    assert response.headers["x-request-id"] in answer["detail"]


def test_the_documentation_is_self_contained(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    sources = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(sources) == 4
    for source in sources:
        assert "//" not in source
        if not source.startswith("data:"):
            assert client.get(f"/{source}").status_code == 200
    assert client.get("/openapi.json").json()["openapi"].startswith("3.1")
