"""How many requests are served at once; one more is told when to come back."""

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import ApiError, problem

RETRY_SECONDS = 1
ALWAYS_SERVED = frozenset({"/healthz", "/readyz", "/metrics"})


class Gate:
    """Counts requests in work and requests that only wait for a job; the latter cost little."""

    def __init__(self, max_in_flight: int, max_waiting: int) -> None:
        self._max_in_flight, self._max_waiting = max_in_flight, max_waiting
        self._in_flight = self._waiting = 0

    @contextmanager
    def admitted(self) -> Iterator[bool]:
        """Whether one more request may be worked on, for the length of the block."""
        if self._in_flight >= self._max_in_flight:
            yield False
            return
        self._in_flight += 1
        try:
            yield True
        finally:
            self._in_flight -= 1

    def has_room(self) -> bool:
        """Whether one more request may wait."""
        return self._waiting < self._max_waiting

    @contextmanager
    def waiting(self) -> Iterator[bool]:
        """Whether a request that is worked on may wait, for the length of the block."""
        if not self.has_room():
            yield False
            return
        self._waiting += 1
        self._in_flight -= 1
        try:
            yield True
        finally:
            self._in_flight += 1
            self._waiting -= 1


class Admission:
    """Answers 503 at once where too many requests are in work.

    A queue of requests inside the process would make all of them late; this way those that are
    let in are answered in time, and the others know when to try again.
    """

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self._app, self._gate = app, gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in ALWAYS_SERVED:
            await self._app(scope, receive, send)
            return
        with self._gate.admitted() as may_pass:
            if may_pass:
                await self._app(scope, receive, send)
                return
        headers = {"Retry-After": str(RETRY_SECONDS)}
        error = ApiError(503, "The service is busy; try again shortly.", headers=headers)
        await problem(scope["path"], error)(scope, receive, send)
