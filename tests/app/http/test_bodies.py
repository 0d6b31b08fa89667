"""Request bodies above the limit: the client gets the 413 instead of a reset connection."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request
from starlette.responses import Response

from app.http import problems
from app.http.bodies import DRAIN_BYTES, read_body
from app.http.problems import ApiError
from tests.waiting import HANG_SECONDS

MEGABYTE = 1024 * 1024


def request_of(chunks: list[int], headers: dict[str, str]) -> tuple[Request, list[int]]:
    """Return a POST whose body has chunks of these sizes, and the list of unread sizes."""
    left = list(chunks)

    async def receive() -> dict[str, Any]:
        size = left.pop(0)
        return {"type": "http.request", "body": bytes(size), "more_body": bool(left)}

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "headers": raw}, receive), left


def refused(request: Request) -> ApiError:
    with pytest.raises(ApiError) as caught:
        asyncio.run(read_body(request, limit=10, seconds=HANG_SECONDS))
    return caught.value


@pytest.mark.parametrize("headers", [{}, {"content-length": "400"}])
def test_the_rest_of_a_large_body_is_read_before_the_413(headers: dict[str, str]) -> None:
    request, left = request_of([100] * 4, headers)
    assert refused(request).status == 413
    assert left == []


def test_draining_is_bounded() -> None:
    request, left = request_of([DRAIN_BYTES // 2] * 10, {})
    assert refused(request).status == 413
    assert len(left) >= 7


@pytest.mark.parametrize(
    "headers",
    [
        {"content-length": str(DRAIN_BYTES * 2)},
        {"content-length": "400", "expect": "100-continue"},
    ],
    ids=["far too large", "the client waits for permission"],
)
def test_a_body_that_need_not_be_read_is_not(headers: dict[str, str]) -> None:
    request, left = request_of([100] * 4, headers)
    assert refused(request).status == 413
    assert len(left) == 4


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    """Yield the address of a server that accepts at most 1,000 bytes."""
    app = FastAPI()
    problems.install(app)

    @app.post("/")
    async def take(request: Request) -> Response:
        return Response(await read_body(request, 1000, HANG_SECONDS))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield listener.getsockname()
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_client_that_sends_everything_first_reads_the_413(
    address: tuple[str, int], chunked: bool
) -> None:
    piece = bytes(MEGABYTE)
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {60 * MEGABYTE}"
    with socket.create_connection(address, timeout=HANG_SECONDS) as client:
        client.sendall(f"POST / HTTP/1.1\r\nHost: localhost\r\n{length}\r\n\r\n".encode())
        for _ in range(60):
            client.sendall(b"100000\r\n" + piece + b"\r\n" if chunked else piece)
        if chunked:
            client.sendall(b"0\r\n\r\n")
        answer = client.recv(12)
    assert answer == b"HTTP/1.1 413"
