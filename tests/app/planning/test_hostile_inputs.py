"""Each hostile input gets its 4xx quickly, and the service keeps working."""

import json
import time
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from tests.app.conftest import CIF, MakeClient
from tests.app.planning.hostile_inputs import CIFS, JSONS, all_names
from tests.app.problem_documents import problem

RAW = {"Content-Type": "chemical/x-cif"}
SECONDS = 20.0


@pytest.fixture(scope="module", autouse=True)
def _corpus() -> None:
    assert len(set(all_names())) == len(list(all_names())) >= 60


def refused(client: TestClient, redis: Redis, body: bytes, kind: str, status: int) -> None:
    begun = time.monotonic()
    answer = client.post("/reconstruct", content=body, headers={"Content-Type": kind})
    problem(answer, status)
    assert time.monotonic() - begun < SECONDS
    assert len(answer.content) < 100_000
    assert redis.keys("rq:*") == []
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize(("body", "status"), [c[1:] for c in CIFS], ids=[c[0] for c in CIFS])
def test_hostile_cif(client: TestClient, redis_client: Redis, body: bytes, status: int) -> None:
    kind = "chemical/x-cif" if body else "application/octet-stream"
    refused(client, redis_client, body, kind, status)


@pytest.mark.parametrize(("body", "status"), [c[1:] for c in JSONS], ids=[c[0] for c in JSONS])
def test_hostile_json(client: TestClient, redis_client: Redis, body: Any, status: int) -> None:
    text = body if isinstance(body, str) else json.dumps(body)
    refused(client, redis_client, text.encode(), "application/json", status)


def test_reading_has_a_limit_of_time(make_client: MakeClient, redis_url: str) -> None:
    client = make_client(redis_url=redis_url, parse_seconds=0.05)
    blocks = "".join(CIF.replace("data_SrTiO3", f"data_{i}") for i in range(100))
    text = blocks + "\n_note\n;\n" + "x" * 15_000_000 + "\n;\n"
    assert (
        "within" in problem(client.post("/reconstruct", content=text, headers=RAW), 422)["detail"]
    )
    assert client.post("/generate").status_code == 202


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_mutilated_cifs_are_read_or_refused(client: TestClient, data: st.DataObject) -> None:
    text = bytearray(CIF.encode())
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, len(text) - 1))
        piece = data.draw(st.binary(max_size=8) | st.sampled_from([b"loop_\n", b"data_\n", b";\n"]))
        text[place : place + data.draw(st.integers(0, 30))] = piece
    answer = client.post("/reconstruct", content=bytes(text), headers=RAW)
    assert answer.status_code in (202, 400, 422)
    if answer.status_code != 202:
        problem(answer, answer.status_code)
