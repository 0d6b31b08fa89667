"""Authentication, rate limits, quotas, ownership and security headers."""

import json
import stat
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from redis import Redis

from app.auth.key_file import ApiKey, KeyFile, KeyFileError, UnknownKeyError, key_file
from tests.app.conftest import MakeClient, StandInWorker
from tests.app.problem_documents import problem

PROTECTED = [
    ("POST", "/generate"),
    ("POST", "/reconstruct"),
    ("POST", "/optimize?property=formation_energy"),
    ("POST", "/interpolate"),
    ("POST", "/variations"),
    ("GET", "/jobs"),
    ("GET", "/jobs/x"),
    ("DELETE", "/jobs/x"),
    ("GET", "/jobs/x/result"),
    ("GET", "/jobs/x/events"),
    ("GET", "/jobs/x/crystals/0"),
    ("GET", "/models"),
    ("GET", "/models/tiny"),
    ("GET", "/models/tiny/statistics"),
    ("GET", "/jobs/x/structures"),
]
OPEN = ["/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/"]


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    return key_file(tmp_path / "home")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_without_keys_this_machine_may_do_everything(client: TestClient) -> None:
    assert client.get("/jobs").status_code == 200
    for host in ("127.0.0.1", "localhost:8000", "[::1]:8000"):
        assert client.get("/jobs", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "192.168.1.2", "x"])
def test_without_keys_other_names_are_refused(client: TestClient, host: str) -> None:
    problem(client.post("/generate", headers={"Host": host}), 403)


def test_an_operator_may_serve_anybody(make_client: MakeClient, redis_url: str) -> None:
    client = make_client(redis_url=redis_url, allow_anonymous=True)
    assert client.get("/jobs", headers={"Host": "lab.example"}).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_pages_of_other_sites_are_refused(client: TestClient, site: str) -> None:
    problem(client.post("/generate", headers={"Sec-Fetch-Site": site}), 403)
    for own in ("same-origin", "none"):
        assert client.get("/jobs", headers={"Sec-Fetch-Site": own}).status_code == 200


def test_with_a_key_everything_needs_one(client: TestClient, keys: KeyFile) -> None:
    token, _ = keys.create("lab")
    for method, path in PROTECTED:
        answer = client.request(method, path)
        problem(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"
        assert client.request(method, path, headers=bearer(token)).status_code != 401
        assert client.request(method, path, headers={"X-API-Key": token}).status_code != 401
    for path in OPEN:
        assert client.get(path).status_code == 200


def test_only_the_very_key_is_valid(client: TestClient, keys: KeyFile) -> None:
    token, key = keys.create("lab")
    head, _, secret = token.rpartition("_")
    for wrong in (
        token[:-1],
        token + "x",
        f"{head}_{secret[::-1]}",
        f"cdvae_{'0' * 12}_{secret}",
        key.sha256,
        f"cdvae_{key.id}_{key.sha256}",
        "cdvae_",
        "",
        "__",
    ):
        problem(client.get("/jobs", headers=bearer(wrong)), 401)
    assert client.get("/jobs", headers=bearer(token)).status_code == 200


def test_a_key_is_kept_as_a_hash_in_a_file_of_its_owner(keys: KeyFile, tmp_path: Path) -> None:
    token, key = keys.create("lab")
    path = tmp_path / "home" / "keys.json"
    assert token not in path.read_text()
    assert token.rpartition("_")[2] not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert keys.find(token) == key
    assert len(token.rpartition("_")[2]) == 64  # 256 bits in hexadecimal


def test_a_revoked_key_is_out_at_once_and_does_not_open_the_door(
    client: TestClient, keys: KeyFile
) -> None:
    token, key = keys.create("lab")
    assert client.get("/jobs", headers=bearer(token)).status_code == 200
    keys.revoke(key.id)
    problem(client.get("/jobs", headers=bearer(token)), 401)
    problem(client.get("/jobs"), 401)
    with pytest.raises(UnknownKeyError):
        keys.revoke("0" * 12)


def test_a_broken_key_file_closes_the_door(
    client: TestClient, keys: KeyFile, tmp_path: Path
) -> None:
    token, _ = keys.create("lab")
    path = tmp_path / "home" / "keys.json"
    path.write_text(json.dumps([{"id": "x"}]))
    with pytest.raises(KeyFileError, match=r"keys\.json"):
        keys.keys()
    problem(client.get("/jobs", headers=bearer(token)), 503)
    problem(client.get("/jobs"), 503)


def test_keys_may_be_needed_before_there_is_one(make_client: MakeClient, redis_url: str) -> None:
    client = make_client(redis_url=redis_url, require_keys=True)
    problem(client.get("/jobs"), 401)


def test_a_key_sees_its_own_jobs_alone(
    client: TestClient, keys: KeyFile, worker: StandInWorker
) -> None:
    mine, _ = keys.create("mine")
    theirs, _ = keys.create("theirs")
    headers = {"Idempotency-Key": "one"}
    job = client.post("/generate", headers={**bearer(mine), **headers}).json()["id"]
    other = client.post("/generate", headers={**bearer(theirs), **headers}).json()["id"]
    assert job != other  # the idempotency keys of two callers are independent
    for method, path in (
        ("GET", f"/jobs/{job}"),
        ("DELETE", f"/jobs/{job}"),
        ("GET", f"/jobs/{job}/result"),
        ("GET", f"/jobs/{job}/events"),
        ("GET", f"/jobs/{job}/crystals/0"),
    ):
        foreign = problem(client.request(method, path, headers=bearer(theirs)), 404)
        unknown = problem(
            client.request(method, path.replace(job, "f" * 32), headers=bearer(theirs)), 404
        )
        # The response for another owner's job equals that for an unknown job.
        assert foreign["detail"].replace(job, "") == unknown["detail"].replace("f" * 32, "")
    listed = client.get("/jobs", headers=bearer(theirs)).json()["jobs"]
    assert [one["id"] for one in listed] == [other]
    assert client.get(f"/jobs/{job}", headers=bearer(mine)).json()["state"] == "queued"


def test_a_key_has_a_rate(client: TestClient, keys: KeyFile) -> None:
    slow, _ = keys.create("slow", requests_per_minute=30)
    quick, _ = keys.create("quick")
    codes = [client.get("/jobs", headers=bearer(slow)).status_code for _ in range(12)]
    assert codes[:5] == [200] * 5
    assert 429 in codes
    refused = client.get("/jobs", headers=bearer(slow))
    problem(refused, 429)
    assert 1 <= int(refused.headers["retry-after"]) <= 2
    assert client.get("/jobs", headers=bearer(quick)).status_code == 200


def test_a_key_has_a_quota_of_unfinished_jobs(
    client: TestClient, keys: KeyFile, worker: StandInWorker
) -> None:
    token, _ = keys.create("lab", unfinished_jobs=2)
    other, _ = keys.create("other", unfinished_jobs=2)
    paths = [client.post("/generate", headers=bearer(token)).headers["location"] for _ in range(2)]
    refused = client.post("/generate", headers=bearer(token))
    problem(refused, 429)
    assert int(refused.headers["retry-after"]) > 0
    assert client.post("/generate", headers=bearer(other)).status_code == 202
    client.delete(paths[1], headers=bearer(token))
    assert client.post("/generate", headers=bearer(token)).status_code == 202
    worker.announce()
    worker.end(worker.take()[0], "finished", "succeeded")
    assert client.post("/generate", headers=bearer(token)).status_code == 202
    problem(client.post("/generate", headers=bearer(token)), 429)


def test_a_repetition_does_not_count_against_the_quota(client: TestClient, keys: KeyFile) -> None:
    token, _ = keys.create("lab", unfinished_jobs=1)
    headers = {**bearer(token), "Idempotency-Key": "k"}
    first = client.post("/generate", headers=headers)
    assert client.post("/generate", headers=headers).json()["id"] == first.json()["id"]


@pytest.mark.parametrize("path", ["/jobs", "/nope", "/docs", "/healthz", "/openapi.json"])
def test_every_answer_keeps_browsers_in_check(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy if path == "/docs" else "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    assert "http" not in policy


def test_secrets_stay_out_of_the_log(
    client: TestClient, keys: KeyFile, caplog: pytest.LogCaptureFixture, redis_client: Redis
) -> None:
    caplog.set_level("CRITICAL", "httpx2")  # the test's own client
    caplog.set_level("DEBUG")
    token, key = keys.create("lab")
    headers = {**bearer(token), "Idempotency-Key": "k"}
    url = "https://lab.example/hook?password=hidden"
    assert client.post("/generate", json={"callback_url": url}, headers=headers).status_code == 202
    client.get("/jobs?token=also-hidden", headers=headers)
    client.get("/jobs", headers=bearer(token + "wrong"))
    assert "/jobs" in caplog.text
    for secret in (token, token.rpartition("_")[2], key.webhook_secret, "hidden"):
        assert secret not in caplog.text
    for name in redis_client.scan_iter():
        assert token.encode() not in name
        if redis_client.type(name) == b"hash":
            assert token.encode() not in b" ".join(redis_client.hvals(name))


def test_a_key_of_the_file_is_checked() -> None:
    with pytest.raises(ValueError, match="sha256"):
        ApiKey.model_validate(
            {
                "id": "0" * 12,
                "name": "x",
                "sha256": "short",
                "created_at": "2026-01-01T00:00:00Z",
                "requests_per_minute": 1,
                "unfinished_jobs": 1,
                "webhook_secret": "whsec_x",
            }
        )
