"""How many requests are served at once; one more is told when to come back."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import ASGIApp, Receive, Scope, Send

from app.http.problems import ApiError, problem

log = logging.getLogger(__name__)

RETRY_SECONDS = 1
ALWAYS_SERVED = frozenset({"/healthz", "/readyz", "/metrics"})

CROWDED = 16  # requests at once while the process has more to do than it can
# s; a turn takes at most 1 ms at half of what a process can answer, 6 ms beyond it and 3 to 16 ms
# there with a few requests at once
SLOW_TURN, CROWDED_TURN = 0.006, 0.002
LOOK_SECONDS, LOOKS = 0.1, 20


class Gate:
    """Counts requests in work and requests that only wait for a job; the latter cost little.

    A burst is let in, for it passes. Where the turns of the event loop stay long for two seconds,
    more requests come than go: to have them all in work would make every one late, and take from
    the workers, on the same cores, what they need for the jobs.
    """

    def __init__(self, max_in_flight: int, max_waiting: int) -> None:
        self._max_in_flight, self._max_waiting = max_in_flight, max_waiting
        self._in_flight = self._waiting = 0
        self._slow = 0  # looks that found a slow turn, less those that did not
        self._crowded = False

    async def look(self) -> None:
        """Measure one turn of the event loop; to be called every LOOK_SECONDS."""
        clock = asyncio.get_running_loop().time
        begun = clock()
        await asyncio.sleep(0)
        self.note_turn(clock() - begun)

    def note_turn(self, seconds: float) -> None:
        """How long a turn of the event loop has taken."""
        slow = seconds > (CROWDED_TURN if self._crowded else SLOW_TURN)
        self._slow = min(max(self._slow + (1 if slow else -1), 0), LOOKS)
        if self._slow == LOOKS and not self._crowded:
            self._crowded = True
            log.warning("more requests than can be answered: %d at once from now on", self._limit)
        elif self._slow == 0 and self._crowded:
            self._crowded = False
            log.warning("requests are answered in time again: %d at once", self._limit)

    @property
    def _limit(self) -> int:
        return min(CROWDED, self._max_in_flight) if self._crowded else self._max_in_flight

    @contextmanager
    def admitted(self) -> Iterator[bool]:
        """Whether one more request may be worked on, for the length of the block."""
        if self._in_flight >= self._limit:
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
