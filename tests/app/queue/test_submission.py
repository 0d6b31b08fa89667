"""Submissions without a response from Redis."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from redis.exceptions import TimeoutError as RedisTimeoutError

from tests.app.problem_documents import problem


@pytest.fixture
def lossy(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """Client of a service that queues jobs but loses the replies of Redis."""
    queue = client.app.state.services.queue  # type: ignore[attr-defined]
    submit = queue._scripts["submit"]

    async def lose(**arguments: Any) -> None:
        await submit(**arguments)
        raise RedisTimeoutError("Timeout reading from socket")

    monkeypatch.setitem(queue._scripts, "submit", lose)
    return client


def test_a_lost_answer_names_the_job_that_may_be_queued(lossy: TestClient) -> None:
    answer = problem(lossy.post("/generate"), 503)
    assert "nothing was changed" not in answer["detail"]
    assert "Idempotency-Key" in answer["detail"]
    assert lossy.get(f"/jobs/{answer['job_id']}").json()["state"] == "queued"


def test_with_a_key_the_request_can_be_sent_again(
    lossy: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = {"Idempotency-Key": "one"}
    first = problem(lossy.post("/generate", headers=headers), 503)
    monkeypatch.undo()
    again = lossy.post("/generate", headers=headers)
    assert (again.status_code, again.json()["id"]) == (202, first["job_id"])
    assert len(lossy.get("/jobs").json()["jobs"]) == 1


def test_a_job_that_is_queued_is_told_although_the_wait_fails(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> None:
        raise RedisTimeoutError("Timeout reading from socket")

    monkeypatch.setattr(client.app.state.services.queue, "status", fail)  # type: ignore[attr-defined]
    answer = client.post("/generate", headers={"Prefer": "wait=5"})
    assert (answer.status_code, answer.json()["state"]) == (202, "queued")
