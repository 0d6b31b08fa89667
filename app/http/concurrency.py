"""Limit the number of requests in progress; further requests get a 503 with `Retry-After`."""

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import ASGIApp, Receive, Scope, Send

from app.http.problems import ApiError, problem

RETRY_SECONDS = 1
UNLIMITED_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})


class ConcurrencyLimiter:
    """Count the requests in progress and the requests that only wait for a job.

    Waiting requests cost little, so they have their own, higher limit.
    """

    def __init__(self, max_in_flight: int, max_waiting: int) -> None:
        self._max_in_flight, self._max_waiting = max_in_flight, max_waiting
        self._in_flight = self._waiting = 0

    @contextmanager
    def admitted(self) -> Iterator[bool]:
        """Count a request for the length of the block; yield False if the limit is reached."""
        if self._in_flight >= self._max_in_flight:
            yield False
            return
        self._in_flight += 1
        try:
            yield True
        finally:
            self._in_flight -= 1

    def has_room(self) -> bool:
        """Return whether another request may wait."""
        return self._waiting < self._max_waiting

    @contextmanager
    def waiting(self) -> Iterator[bool]:
        """Count an admitted request as waiting for the length of the block.

        Yield False if the limit is reached; the request stays in progress then.
        """
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


class ConcurrencyMiddleware:
    """Answer 503 immediately when the limit of requests in progress is reached.

    A queue inside the process would delay every request. This way the admitted requests are
    answered in time, and the other clients know when to retry.
    """

    def __init__(self, app: ASGIApp, limiter: ConcurrencyLimiter) -> None:
        self._app, self._limiter = app, limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in UNLIMITED_PATHS:
            await self._app(scope, receive, send)
            return
        with self._limiter.admitted() as admitted:
            if admitted:
                await self._app(scope, receive, send)
                return
        headers = {"Retry-After": str(RETRY_SECONDS)}
        error = ApiError(503, "Too many concurrent requests. Retry later.", headers=headers)
        await problem(scope["path"], error)(scope, receive, send)
