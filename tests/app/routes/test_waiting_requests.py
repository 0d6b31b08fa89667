"""Idempotency keys, `Prefer: wait`, entity tags, lists, event streams, overload."""

import json
import threading
import time
from typing import Any

import pytest
from fastapi.testclient import TestClient
from redis import Redis

from app.queue.job_listing import BATCH
from cdvae_schema.job_specs import JobStatus
from cdvae_schema.outcomes import JobResult
from cdvae_schema.wire import changed_channel
from tests.app.conftest import CIF, MakeClient, StandInWorker, record
from tests.app.problem_documents import problem
from tests.waiting import HANG_SECONDS

WAIT = {"Prefer": "wait=20"}


def post(client: TestClient, headers: dict[str, str] | None = None, **body: Any) -> Any:
    return client.post("/generate", json={"num_samples": 4, **body}, headers=headers)


def complete(worker: StandInWorker, state: str = "succeeded") -> str:
    """Take the next job, finish it and return its id."""
    worker.announce()
    job, _ = worker.take()
    worker.write(job, [[record(0), record(1)], [record(2), record(3)]], state=state)
    worker.end(job, "finished", state)
    return job.id


class Later:
    """Run a function in a thread once a request waits for a job; raise its exception at the end."""

    def __init__(self, redis: Redis, what: Any) -> None:
        self._thread = threading.Thread(target=self._run)
        self._redis, self._what = redis, what
        self._error: BaseException | None = None

    def _run(self) -> None:
        end = time.monotonic() + HANG_SECONDS
        try:
            while {changed_channel("").encode()} >= set(self._redis.pubsub_channels()):
                assert time.monotonic() < end
                time.sleep(0.01)
            self._what()
        except BaseException as error:  # handed over
            self._error = error

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        if self._error is not None:
            raise self._error


# Idempotency-Key


def test_the_same_key_and_request_is_the_same_job(
    client: TestClient, worker: StandInWorker, redis_client: Redis
) -> None:
    headers = {"Idempotency-Key": "run-17"}
    first = post(client, headers)
    assert first.status_code == 202
    for _ in range(3):
        again = post(client, headers)
        assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
        assert again.headers["location"] == first.headers["location"]
    assert redis_client.llen("rq:queue:normal") == 1
    assert 'cdvae_jobs_submitted_total{kind="generate",model="tiny@1"} 1.0' in (
        client.get("/metrics").text.splitlines()
    )
    complete(worker)
    again = post(client, headers)
    assert (again.status_code, again.json()["state"]) == (202, "succeeded")
    waited = post(client, {**headers, **WAIT})
    assert (waited.status_code, len(waited.json()["crystals"])) == (200, 4)
    assert waited.json()["job"]["id"] == first.json()["id"]


def test_the_same_key_with_another_request_is_a_conflict(client: TestClient) -> None:
    headers = {"Idempotency-Key": "run-17"}
    assert post(client, headers, seed=1).status_code == 202
    problem(post(client, headers, seed=2), 409)
    problem(client.post("/optimize?property=formation_energy", headers=headers), 409)
    cif = {"Content-Type": "chemical/x-cif"}
    problem(client.post("/reconstruct", content=CIF, headers={**cif, **headers}), 409)
    assert post(client, {"Idempotency-Key": "run-18"}, seed=2).status_code == 202


def test_the_query_is_part_of_the_request(client: TestClient) -> None:
    headers = {"Content-Type": "chemical/x-cif", "Idempotency-Key": "k"}
    first = client.post("/reconstruct?seed=1", content=CIF, headers=headers)
    assert first.status_code == 202
    problem(client.post("/reconstruct?seed=2", content=CIF, headers=headers), 409)
    same = client.post("/reconstruct?seed=1", content=CIF, headers=headers)
    assert same.json()["id"] == first.json()["id"]


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "\t"])
def test_a_key_that_cannot_be_is_refused(client: TestClient, key: str) -> None:
    problem(post(client, {"Idempotency-Key": key}), 400)


def test_many_at_once_make_one_job(client: TestClient, redis_client: Redis) -> None:
    found: set[str] = set()
    threads = [
        threading.Thread(
            target=lambda: found.add(post(client, {"Idempotency-Key": "k"}).json()["id"])
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 1
    assert redis_client.llen("rq:queue:normal") == 1


# Prefer: wait


def test_a_post_that_waits_gets_the_result(client: TestClient, worker: StandInWorker) -> None:
    worker.announce()
    with Later(worker.redis, lambda: complete(worker)):
        answer = post(client, WAIT)
    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=20"
    result = JobResult.model_validate_json(answer.text)
    assert len(result.crystals) == 4
    assert answer.headers["location"] == result.job.links.self


def test_the_result_comes_in_the_form_that_is_accepted(
    client: TestClient, worker: StandInWorker
) -> None:
    with Later(worker.redis, lambda: complete(worker)):
        answer = post(client, {**WAIT, "Accept": "chemical/x-cif"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("chemical/x-cif")
    assert answer.text.count("data_") == 4


def test_an_impossible_form_is_refused_before_anything_is_queued(
    client: TestClient, redis_client: Redis
) -> None:
    problem(post(client, {**WAIT, "Accept": "image/png"}), 406)
    assert redis_client.keys("rq:*") == []


def test_a_post_that_waited_in_vain_is_a_202(client: TestClient) -> None:
    answer = post(client, {"Prefer": "respond-async, wait=1"})
    assert (answer.status_code, answer.json()["state"]) == (202, "queued")
    assert answer.headers["preference-applied"] == "wait=1"


def test_a_failure_that_was_waited_for_is_a_202_that_says_so(
    client: TestClient, worker: StandInWorker
) -> None:
    def fail() -> None:
        worker.announce()
        worker.fail(worker.take()[0], {"code": "out_of_memory", "detail": "Too large."})

    with Later(worker.redis, fail):
        answer = post(client, WAIT)
    assert (answer.status_code, answer.json()["state"]) == (202, "failed")
    assert answer.json()["error"]["code"] == "out_of_memory"


def test_a_get_is_held_until_the_end(client: TestClient, worker: StandInWorker) -> None:
    path = post(client).headers["location"]
    with Later(worker.redis, lambda: complete(worker)):
        answer = client.get(path, headers=WAIT)
    assert answer.json()["state"] == "succeeded"
    assert (
        client.get(path, headers={"Prefer": "wait=soon"}).headers.get("preference-applied") is None
    )


def test_a_wait_has_a_limit(make_client: MakeClient, redis_url: str) -> None:
    client = make_client(redis_url=redis_url, max_wait=1)
    answer = post(client, {"Prefer": "wait=1000000"})
    assert answer.headers["preference-applied"] == "wait=1"


def test_where_too_many_wait_the_answer_comes_at_once(
    make_client: MakeClient, redis_url: str
) -> None:
    client = make_client(redis_url=redis_url, max_waiting=0)
    path = post(client, {"Prefer": "wait=60"}).headers["location"]
    assert client.get(path, headers={"Prefer": "wait=60"}).json()["state"] == "queued"
    answer = client.get(f"{path}/events")
    problem(answer, 503)
    assert int(answer.headers["retry-after"]) > 0


# ETag


def test_an_unchanged_job_is_not_sent_again(client: TestClient, worker: StandInWorker) -> None:
    path = post(client).headers["location"]
    first = client.get(path)
    tag = first.headers["etag"]
    for value in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        same = client.get(path, headers={"If-None-Match": value})
        assert (same.status_code, same.content) == (304, b"")
        assert same.headers["etag"] == tag
    assert client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
    complete(worker)
    changed = client.get(path, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag


# Lists


def test_jobs_are_listed_newest_first_a_page_at_a_time(client: TestClient) -> None:
    assert client.get("/jobs").json() == {"jobs": []}
    ids = [post(client).json()["id"] for _ in range(7)]
    seen: list[str] = []
    url = "/jobs?limit=3"
    pages = 0
    while url:
        answer = client.get(url)
        seen += [one["id"] for one in answer.json()["jobs"]]
        link = answer.headers.get("link", "")
        assert link == "" or link.endswith('>; rel="next"')
        url = link.partition(">")[0].removeprefix("<")
        pages += 1
        if pages == 1:
            post(client)  # a newer one does not disturb the pages
    assert seen == ids[::-1]
    assert pages == 3


def test_lists_are_filtered(client: TestClient, worker: StandInWorker) -> None:
    done = post(client).json()["id"]
    complete(worker)
    waiting = post(client).json()["id"]
    other = client.post("/optimize?property=formation_energy").json()["id"]

    def ids(query: str) -> list[str]:
        return [one["id"] for one in client.get(f"/jobs?{query}").json()["jobs"]]

    assert ids("state=succeeded") == [done]
    assert ids("state=queued") == [other, waiting]
    assert ids("kind=generate") == [waiting, done]
    assert ids("state=queued&kind=generate") == [waiting]
    assert ids("state=failed") == []
    for query in ("state=lost", "kind=x", "limit=0", "limit=101", "cursor=nonsense", "cursor=AA=="):
        problem(client.get(f"/jobs?{query}"), 422)


def test_expired_jobs_leave_the_list(client: TestClient, redis_client: Redis) -> None:
    ids = [post(client).json()["id"] for _ in range(3)]
    redis_client.delete(f"rq:job:{ids[0]}", f"rq:job:{ids[1]}")
    assert [one["id"] for one in client.get("/jobs").json()["jobs"]] == [ids[2]]
    post(client)
    assert redis_client.zcard("cdvae:jobs:anonymous") == 2


def test_a_filter_looks_behind_the_first_batch(client: TestClient, worker: StandInWorker) -> None:
    post(client, seed=1)
    oldest = complete(worker)
    for _ in range(BATCH + 5):
        post(client)
    found = client.get("/jobs?state=succeeded").json()["jobs"]
    assert [one["id"] for one in found] == [oldest]


# Events of a job that has ended; those of a running one are tested over processes (tests/faults)


def events(text: str) -> list[dict[str, str]]:
    blocks = [block for block in text.replace("\r\n", "\n").split("\n\n") if block.strip()]
    return [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]


def test_events_of_a_finished_job(client: TestClient, worker: StandInWorker) -> None:
    path = post(client).headers["location"]
    complete(worker)
    answer = client.get(f"{path}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = events(answer.text)
    assert [(one["event"], one["id"]) for one in found] == [
        ("crystal", "1"),
        ("crystal", "2"),
        ("crystal", "3"),
        ("crystal", "4"),
        ("progress", "4"),
        ("done", "end"),
    ]
    assert [json.loads(one["data"])["index"] for one in found[:4]] == [0, 1, 2, 3]
    assert JobStatus.model_validate_json(found[-1]["data"]).state == "succeeded"


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ("3", [3]),
        ("1", [1, 2, 3]),
        ("4", []),
        ("99", []),
        ("x", [0, 1, 2, 3]),
        ("-1", [0, 1, 2, 3]),
    ],
)
def test_events_go_on_where_they_were(
    client: TestClient, worker: StandInWorker, last: str, expected: list[int]
) -> None:
    path = post(client).headers["location"]
    complete(worker)
    found = events(client.get(f"{path}/events", headers={"Last-Event-ID": last}).text)
    crystals = [json.loads(one["data"])["index"] for one in found if one["event"] == "crystal"]
    assert crystals == expected
    assert found[-1]["event"] == "done"
    assert client.get(f"{path}/events", headers={"Last-Event-ID": "end"}).status_code == 204


def test_a_jobs_links_lead_to_its_events(client: TestClient) -> None:
    links = post(client).json()["links"]
    assert links["events"] == f"{links['self']}/events"
    problem(client.get("/jobs/unknown/events"), 404)


# Overload


def test_a_full_queue_refuses_with_a_time(make_client: MakeClient, redis_url: str) -> None:
    client = make_client(redis_url=redis_url, max_queued=2)
    for _ in range(2):
        assert post(client, priority="bulk").status_code == 202
    refused = post(client, priority="bulk")
    problem(refused, 503)
    assert int(refused.headers["retry-after"]) > 0
    assert post(client, priority="interactive").status_code == 202


def test_too_many_requests_at_once_are_refused(make_client: MakeClient, redis_url: str) -> None:
    client = make_client(redis_url=redis_url, max_in_flight=1)
    gate = client.app.state.services.limiter  # type: ignore[attr-defined]
    with gate.admitted():
        refused = client.get("/models")
        problem(refused, 503)
        assert refused.headers["retry-after"] == "1"
        assert client.get("/healthz").status_code == 200
        with gate.waiting():
            assert client.get("/models").status_code == 200
    assert client.get("/models").status_code == 200
