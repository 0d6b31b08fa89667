"""A request and its retries, shared by both clients.

A flow is a generator: it yields a step (`httpx2.Request` or `Pause`) and receives the outcome (a
response with its body, or a transport error). `Client` and `AsyncClient` differ only in how they
run the steps.
"""

from __future__ import annotations

import random
from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeVar

import httpx2

from cdvae_client.client_errors import UnreachableError, refusal, retry_after

T = TypeVar("T")

WORTH_REPEATING = frozenset({408, 429, 502, 503, 504})
HOPELESS = (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)  # a retry cannot help


@dataclass(frozen=True)
class Pause:
    """Wait for this many seconds."""

    seconds: float


Step = httpx2.Request | Pause
Reply = httpx2.Response | httpx2.TransportError | None
Flow = Generator[Step, Reply, T]


@dataclass(frozen=True)
class Retries:
    """Policy for repeated requests.

    attempts: most requests in total; first_pause: seconds before the second, doubled for each
    further one up to longest_pause. A `Retry-After` header replaces the pause; one above
    longest_pause ends the attempts.
    """

    attempts: int = 6
    first_pause: float = 0.5
    longest_pause: float = 60.0

    def pause(self, tried: int, asked: float | None) -> float | None:
        """Return the seconds until the next attempt after `tried` of them; None after the last."""
        if tried >= self.attempts or (asked or 0.0) > self.longest_pause:
            return None
        if asked is not None:
            return asked
        # Random, so that clients that failed together do not retry together.
        longest = min(self.first_pause * 2.0 ** (tried - 1), self.longest_pause)
        return random.uniform(longest / 2, longest)


def exchange(request: httpx2.Request, retries: Retries) -> Flow[httpx2.Response]:
    """Send a request, with retries, and return the response, whose status is below 400.

    Raises RefusedError or UnreachableError.
    """
    tried = 0
    while True:
        reply = yield request
        tried += 1
        if isinstance(reply, httpx2.TransportError):
            pause = retries.pause(tried, None)
            if pause is None or isinstance(reply, HOPELESS):
                raise unreachable(request, reply) from reply
        else:
            assert reply is not None
            if reply.is_success or reply.status_code == httpx2.codes.NOT_MODIFIED:
                return reply
            pause = None
            if reply.status_code in WORTH_REPEATING:
                pause = retries.pause(tried, retry_after(reply))
            if pause is None:
                raise refusal(reply)
        yield Pause(pause)


def unreachable(request: httpx2.Request, error: Exception) -> UnreachableError:
    """Return the error for a request without a response."""
    url = request.url.copy_with(query=None)
    return UnreachableError(f"{request.method} {url}: {str(error) or type(error).__name__}")
