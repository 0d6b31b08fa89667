"""One request and its repetitions, written once for the client that waits and the one that awaits.

A flow is a generator: it yields what has to be done (`httpx2.Request` or `Pause`) and is sent what
came of it (a response that has been read, or the error of the transport). `Client` and
`AsyncClient` only differ in how they do it.
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
HOPELESS = (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)  # the caller's own mistakes


@dataclass(frozen=True)
class Pause:
    """So many seconds to let pass."""

    seconds: float


Step = httpx2.Request | Pause
Reply = httpx2.Response | httpx2.TransportError | None
Flow = Generator[Step, Reply, T]


@dataclass(frozen=True)
class Retries:
    """How often a request is repeated, and after how long.

    attempts: tries in all; first_pause: seconds, doubled after every try up to longest_pause. A
    `Retry-After` of the service counts instead; one beyond longest_pause ends the tries.
    """

    attempts: int = 6
    first_pause: float = 0.5
    longest_pause: float = 60.0

    def pause(self, tried: int, asked: float | None) -> float | None:
        """Seconds until the next try after `tried` ones; None where there is none."""
        if tried >= self.attempts or (asked or 0.0) > self.longest_pause:
            return None
        if asked is not None:
            return asked
        # Random, so that clients that failed together do not come back together.
        longest = min(self.first_pause * 2.0 ** (tried - 1), self.longest_pause)
        return random.uniform(longest / 2, longest)


def exchange(request: httpx2.Request, retries: Retries) -> Flow[httpx2.Response]:
    """The answer to a request that may be repeated, one with a status below 400.

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
    """The error for a request that got no answer."""
    url = request.url.copy_with(query=None)
    return UnreachableError(f"{request.method} {url}: {str(error) or type(error).__name__}")
