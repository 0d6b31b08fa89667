"""Follow jobs: events over broken connections, polling without events."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from cdvae_client import (
    AsyncClient,
    Client,
    JobCancelledError,
    JobFailedError,
    NotFoundError,
    Retries,
    WaitTimeoutError,
)
from cdvae_client.calls import Calls
from cdvae_client.job_stream import LOSSES
from tests.cdvae_client.stub import (
    URL,
    Script,
    crystal,
    event,
    played,
    problem,
    result,
    status,
    stream,
)

DONE = event("done", status("succeeded"), "end")
PROGRESS = event("progress", status()["progress"], 1)

Iterated = Callable[[Script], list[int]]


def iterate(script: Script) -> list[int]:
    """Return the indices of the crystals that iteration over a job yields."""
    with Client(URL, transport=httpx2.MockTransport(script)) as client:
        return [one.index for one in client.job("job-1")]


def iterate_async(script: Script) -> list[int]:
    """Return the same from the asyncio client."""

    async def run() -> list[int]:
        async with AsyncClient(URL, transport=httpx2.MockTransport(script)) as client:
            return [one.index async for one in await client.job("job-1")]

    return asyncio.run(run())


@pytest.fixture(params=[iterate, iterate_async])
def iterated(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterated:
    monkeypatch.setattr("cdvae_client.job_stream.FIRST_PAUSE", 0.001)
    found: Iterated = request.param
    return found


def whole() -> httpx2.Response:
    return httpx2.Response(200, json=result(crystal(2), crystal(0), crystal(1)))


def known() -> httpx2.Response:
    return httpx2.Response(200, json=status())


def test_crystals_come_as_they_are_made(iterated: Iterated) -> None:
    script = Script(known(), stream(event("crystal", crystal(0), 1), PROGRESS, DONE))
    assert iterated(script) == [0]


def test_a_broken_stream_goes_on_where_it_stopped(iterated: Iterated) -> None:
    script = Script(
        known(),
        stream(event("crystal", crystal(0), 1)),
        httpx2.ConnectError("restarting"),
        # The service repeats all events after a reconnection; no crystal is yielded twice.
        stream(event("crystal", crystal(0), 1), event("crystal", crystal(1), 2), DONE),
    )
    assert iterated(script) == [0, 1]
    resumed = [request.headers.get("Last-Event-ID") for request in script.requests[1:]]
    assert resumed == [None, "1", "1"]


@pytest.mark.parametrize(
    "hindrance",
    [
        lambda: [problem(503, "too many streams")],
        lambda: [httpx2.Response(200, html="<html>a portal</html>")],
        lambda: [httpx2.RemoteProtocolError("cut")] * LOSSES,
    ],
)
def test_without_events_the_result_is_awaited(
    iterated: Iterated, hindrance: Callable[[], list[Any]]
) -> None:
    ended = httpx2.Response(200, json=status("succeeded"))
    script = Script(known(), *hindrance(), ended, whole())
    assert iterated(script) == [0, 1, 2]


def test_polling_gives_only_what_events_did_not(iterated: Iterated) -> None:
    ended = httpx2.Response(200, json=status("succeeded"))
    seen = stream(event("crystal", crystal(0), 1))
    script = Script(known(), seen, problem(503, "full"), ended, whole())
    assert iterated(script) == [0, 1, 2]


def test_a_lost_job_is_an_error(iterated: Iterated) -> None:
    with pytest.raises(NotFoundError):
        iterated(Script(known(), problem(404, "no job")))


def test_a_failure_is_raised_after_the_crystals(iterated: Iterated) -> None:
    failed = status("failed", error={"code": "worker_lost", "detail": "It died twice."})
    script = Script(known(), stream(event("done", failed, "end")))
    with pytest.raises(JobFailedError, match="died twice") as raised:
        iterated(script)
    assert raised.value.code == "worker_lost"
    with pytest.raises(JobCancelledError):
        iterated(Script(known(), stream(event("done", status("cancelled"), "end"))))


def test_waiting_is_left_to_the_service() -> None:
    script = Script(known(), httpx2.Response(200, json=status("succeeded")))
    calls = Calls(httpx2.Client(base_url=URL), Retries())
    ended, pauses = played(calls.end("job-1", None, None), script)
    assert (ended.state, pauses) == ("succeeded", [])
    assert script.requests[1].headers["Prefer"] == "wait=30"
    assert script.requests[1].extensions["timeout"]["read"] > 30


def test_a_service_that_answers_at_once_is_not_asked_all_the_time() -> None:
    script = Script(known(), known(), known(), httpx2.Response(200, json=status("succeeded")))
    calls = Calls(httpx2.Client(base_url=URL), Retries())
    _, pauses = played(calls.end("job-1", None, None), script)
    assert len(pauses) == 2
    assert all(0.9 < pause <= 1 for pause in pauses)


def test_patience_ends() -> None:
    def still(request: httpx2.Request) -> httpx2.Response:
        time.sleep(0.02)
        return known()

    calls = Calls(httpx2.Client(base_url=URL), Retries())
    with pytest.raises(WaitTimeoutError, match=r"still running after 0\.1 s"):
        played(calls.end("job-1", 0.1, None), still)


def test_progress_is_told() -> None:
    script = Script(known(), known(), httpx2.Response(200, json=status("succeeded")), whole())
    told: list[str] = []
    with Client(URL, transport=httpx2.MockTransport(script)) as client:
        client.job("job-1").wait(progress=lambda one: told.append(one.state))
    assert told == ["running", "succeeded"]
    assert script.requests[2].headers["Prefer"] == "wait=1"


def test_a_bar_shows_the_progress(capsys: pytest.CaptureFixture[str]) -> None:
    script = Script(known(), known(), httpx2.Response(200, json=status("succeeded")), whole())
    with Client(URL, transport=httpx2.MockTransport(script)) as client:
        client.job("job-1").wait(progress=True)
    assert "50%" in capsys.readouterr().err
