"""Retries, and error responses as typed exceptions."""

import httpx2
import pytest

from cdvae_client import (
    CdvaeClientError,
    ConflictError,
    ForbiddenError,
    GoneError,
    InvalidRequestError,
    KeyRefusedError,
    NotFoundError,
    RateLimitedError,
    RefusedError,
    Retries,
    ServerError,
    UnavailableError,
    UnreachableError,
)
from cdvae_client.call_driver import exchange
from cdvae_client.calls import Calls
from tests.cdvae_client.stub import URL, Script, played, problem, status

REQUEST = httpx2.Request("GET", f"{URL}/jobs/job-1")
OK = httpx2.Response(200, json={})


@pytest.mark.parametrize("code", [408, 429, 502, 503, 504])
def test_an_answer_that_may_change_is_asked_for_again(code: int) -> None:
    script = Script(problem(code, "later"), problem(code, "later"), OK)
    answer, pauses = played(exchange(REQUEST, Retries(first_pause=2.0)), script)
    assert answer is OK
    assert 1 <= pauses[0] <= 2 <= pauses[1] <= 4


def test_a_broken_connection_is_tried_again() -> None:
    script = Script(httpx2.ConnectError("refused"), httpx2.ReadTimeout(""), OK)
    assert played(exchange(REQUEST, Retries()), script)[0] is OK
    assert len(script.requests) == 3


def test_the_service_says_when_to_come_back() -> None:
    date = {"Date": "Fri, 02 Jan 2026 03:00:00 GMT", "Retry-After": "Fri, 02 Jan 2026 03:00:09 GMT"}
    script = Script(problem(429, "slow", {"Retry-After": "7"}), problem(503, "busy", date), OK)
    assert played(exchange(REQUEST, Retries()), script) == (OK, [7.0, 9.0])


def test_nobody_waits_for_an_hour() -> None:
    script = Script(problem(429, "slow", {"Retry-After": "3600"}))
    with pytest.raises(RateLimitedError) as raised:
        played(exchange(REQUEST, Retries()), script)
    assert raised.value.retry_after == 3600
    assert len(script.requests) == 1


def test_tries_come_to_an_end() -> None:
    with pytest.raises(UnavailableError, match="busy"):
        played(exchange(REQUEST, Retries(attempts=3)), Script(*[problem(503, "busy")] * 3))
    script = Script(*[httpx2.ConnectError("refused")] * 2)
    with pytest.raises(UnreachableError, match=r"GET http://service\.test/jobs/job-1: refused"):
        played(exchange(REQUEST, Retries(attempts=2)), script)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (307, RefusedError),
        (400, InvalidRequestError),
        (401, KeyRefusedError),
        (403, ForbiddenError),
        (404, NotFoundError),
        (409, ConflictError),
        (410, GoneError),
        (413, InvalidRequestError),
        (422, InvalidRequestError),
        (500, ServerError),
    ],
)
def test_a_refusal_is_not_repeated(code: int, error: type[RefusedError]) -> None:
    script = Script(problem(code, "not so", {"X-Request-ID": "r-1"}))
    with pytest.raises(CdvaeClientError, match="not so") as raised:
        played(exchange(REQUEST, Retries()), script)
    assert type(raised.value) is error
    assert (raised.value.status, raised.value.request_id) == (code, "r-1")


def test_a_proxys_page_is_an_error_too() -> None:
    page = httpx2.Response(404, text="<html>nginx</html>", headers={"Content-Type": "text/html"})
    with pytest.raises(NotFoundError, match="nginx"):
        played(exchange(REQUEST, Retries()), Script(page))


def test_repeated_posts_carry_the_same_idempotency_key() -> None:
    script = Script(
        httpx2.ReadTimeout(""),
        problem(503, "busy"),
        httpx2.Response(202, json=status("queued")),
        httpx2.Response(202, json=status("queued")),
        httpx2.Response(202, json=status("queued")),
    )
    calls = Calls(httpx2.Client(base_url=URL), Retries())
    assert played(calls.submit("/generate", b"{}", None), script)[0].id == "job-1"
    played(calls.submit("/generate", b"{}", None), script)
    played(calls.submit("/generate", b"{}", "mine"), script)
    keys = [request.headers["Idempotency-Key"] for request in script.requests]
    assert keys[0] == keys[1] == keys[2] != keys[3]
    assert keys[4] == "mine"


def test_a_newer_service_may_say_more() -> None:
    newer = status("queued") | {"mood": "fine"}
    newer["progress"] = newer["progress"] | {"color": "blue"}
    calls = Calls(httpx2.Client(base_url=URL), Retries())
    found, _ = played(calls.status("job-1"), Script(httpx2.Response(200, json=newer)))
    assert found.state == "queued"
