"""SIGTERM and SIGINT: requests to stop."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType

REPEATED_SECONDS = 1.0  # s; Ctrl-C and a process manager may send one request twice


class StopSignal:
    """Records requests to stop; the worker reads them in its loop.

    The handler does nothing else. An exception in it could lose a job that was just taken off its
    queue, and a call of Redis could deadlock inside another one.

    grace: the time that running jobs get after the first request, s. A second request ends it.
    """

    def __init__(self, grace: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._grace = grace
        self._clock = clock
        self._requested_at: float | None = None

    def install(self) -> None:
        """Handle SIGTERM and SIGINT of this process."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.handle)

    def handle(self, _number: int, _frame: FrameType | None) -> None:
        """Record a request."""
        if self._requested_at is None:
            self._requested_at = self._clock()
        elif self._clock() - self._requested_at > REPEATED_SECONDS:
            self._grace = 0.0

    @property
    def requested(self) -> bool:
        """True after a request to stop."""
        return self._requested_at is not None

    @property
    def grace_ended(self) -> bool:
        """True when the time of running jobs has ended."""
        return self._requested_at is not None and self._clock() - self._requested_at >= self._grace
