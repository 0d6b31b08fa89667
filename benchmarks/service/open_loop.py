"""Send requests at fixed rates, without waiting for earlier answers.

Times count from the moment when a request was due, so a slow server cannot slow the client down.
"""

import asyncio
import json
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any


def quantiles_ms(seconds: list[float]) -> dict[str, float | None]:
    """Return median, 99th percentile and maximum in ms; None with fewer than two values."""
    found = statistics.quantiles(seconds, n=1000) if len(seconds) > 1 else []
    return {
        "p50_ms": round(1000 * found[499], 1) if found else None,
        "p99_ms": round(1000 * found[989], 1) if found else None,
        "max_ms": round(1000 * max(seconds, default=0), 1),
    }


@dataclass
class Answers:
    """Statuses, seconds, refusals without `Retry-After`, and the lateness of this client.

    The lateness is a lower limit of the latency.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    silent_refusals: int = 0
    unanswered: int = 0

    def facts(self) -> dict[str, Any]:
        """Return the facts for the record."""
        return {
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            **quantiles_ms(self.seconds),
            "client_late_p99_ms": quantiles_ms(self.late)["p99_ms"],
            "refused_without_retry_after": self.silent_refusals,
            "unanswered": self.unanswered,
        }


IDLE_SECONDS = 2.0  # the server closes connections that are idle for five


class Connections:
    """Kept-alive HTTP/1.1 connections; a small client, because it shares the cores."""

    def __init__(self, port: int, number: int) -> None:
        self._port = port
        self._free: asyncio.LifoQueue[Any] = asyncio.LifoQueue()
        for _ in range(number):
            self._free.put_nowait(None)

    async def call(
        self, method: str, path: str, body: Any = None
    ) -> tuple[int, dict[str, str], Any]:
        """Return status, headers and JSON of the answer; raises OSError."""
        pair = await self._free.get()
        try:
            if pair and time.monotonic() - pair[2] > IDLE_SECONDS:
                pair[1].close()
                pair = None
            reader, writer, _ = pair or (
                *await asyncio.open_connection("127.0.0.1", self._port),
                0.0,
            )
            content = b"" if body is None else json.dumps(body).encode()
            head = (
                f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
            )
            writer.write(head.encode() + content)
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines if line)
            answer = await reader.readexactly(int(headers.get("content-length", 0)))
            pair = (reader, writer, time.monotonic())
            return int(first.split()[1]), headers, json.loads(answer) if answer else None
        except (OSError, asyncio.IncompleteReadError) as error:
            pair = None
            raise OSError(str(error)) from error
        finally:
            self._free.put_nowait(pair)


async def timed(connections: Connections, answers: Answers, due: float, *call: Any) -> Any:
    """Return the JSON of the answer to one request; None if it fails."""
    answers.late.append(time.perf_counter() - due)
    try:
        status, headers, content = await connections.call(*call)
    except OSError:
        answers.unanswered += 1
        return None
    answers.seconds.append(time.perf_counter() - due)
    answers.statuses[status] += 1
    answers.silent_refusals += status in (429, 503) and "retry-after" not in headers
    return content if status < 300 else None


async def at_rate(rate: float, seconds: float, send: Callable[[float], Awaitable[None]]) -> None:
    """Call `send(due)` at this rate for this time; return after the last answer."""
    begun = time.perf_counter()
    tasks = []
    for number in range(int(rate * seconds)):
        due = begun + number / rate
        # A late client must still receive its answers.
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.ensure_future(send(due)))
    await asyncio.gather(*tasks)
