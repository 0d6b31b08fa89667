"""Load on one front end: submissions and polls at fixed rates, then far more than it can take.

    python -m benchmarks.load --seconds 60 --out benchmarks/load.json

Everything runs on this machine: Redis, the front end and a worker with a tiny model, each in a
process of its own, and this client. Requests are sent when they are due, whether or not earlier
ones were answered, and times count from then on: a slow server cannot hide behind a slow client.
The run is bounded by `--seconds` and by the number of connections.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.chaos import Client, Place, undisturbed

CONNECTIONS = 200
INTERACTIVE = 20  # jobs whose start is timed
BODY = {"num_samples": 1, "seed": 1, "sampler": {"name": "fast", "steps": 1}}


@dataclass
class Answers:
    """What came back: statuses, seconds, refusals that do not say when to come back."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    silent_refusals: int = 0
    unanswered: int = 0

    def facts(self) -> dict[str, Any]:
        quantiles = statistics.quantiles(self.seconds, n=1000) if len(self.seconds) > 1 else []
        return {
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "p50_ms": round(1000 * quantiles[499], 1) if quantiles else None,
            "p99_ms": round(1000 * quantiles[989], 1) if quantiles else None,
            "max_ms": round(1000 * max(self.seconds, default=0), 1),
            "refused_without_retry_after": self.silent_refusals,
            "unanswered": self.unanswered,
        }


class Connections:
    """Kept-alive HTTP/1.1 connections; as little client as possible, for it shares the cores."""

    def __init__(self, port: int, number: int) -> None:
        self._port = port
        self._free: asyncio.LifoQueue[Any] = asyncio.LifoQueue()
        for _ in range(number):
            self._free.put_nowait(None)

    async def call(
        self, method: str, path: str, body: Any = None
    ) -> tuple[int, dict[str, str], Any]:
        """Status, headers and JSON of the answer; raises OSError."""
        pair = await self._free.get()
        try:
            reader, writer = pair or await asyncio.open_connection("127.0.0.1", self._port)
            content = b"" if body is None else json.dumps(body).encode()
            head = (
                f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
            )
            writer.write(head.encode() + content)
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines if line)
            answer = await reader.readexactly(int(headers.get("content-length", 0)))
            pair = (reader, writer)
            return int(first.split()[1]), headers, json.loads(answer) if answer else None
        except (OSError, asyncio.IncompleteReadError) as error:
            pair = None
            raise OSError(str(error)) from error
        finally:
            self._free.put_nowait(pair)


async def timed(connections: Connections, answers: Answers, due: float, *call: Any) -> Any:
    """One request whose time counts from when it was due."""
    try:
        status, headers, content = await connections.call(*call)
    except OSError:
        answers.unanswered += 1
        return None
    answers.seconds.append(time.perf_counter() - due)
    answers.statuses[status] += 1
    answers.silent_refusals += status in (429, 503) and "retry-after" not in headers
    return content if status < 300 else None


async def at_rate(rate: float, seconds: float, send: Any) -> None:
    """Call `send(due)` that often, for so long; returns when all have been answered."""
    begun = time.perf_counter()
    tasks = []
    for number in range(int(rate * seconds)):
        due = begun + number / rate
        if (early := due - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        tasks.append(asyncio.create_task(send(due)))
    await asyncio.gather(*tasks)


async def start_delays(port: int) -> list[float]:
    """Seconds from submission to start of interactive jobs, sent one after another."""
    connections = Connections(port, 1)
    delays = []
    for _ in range(INTERACTIVE):
        job = None
        while job is None:
            status, _, job = await connections.call(
                "POST", "/generate", {**BODY, "priority": "interactive"}
            )
            if status != 202:  # as Retry-After says
                job = None
                await asyncio.sleep(1)
        begun = datetime.fromisoformat(job["created_at"])
        while job is None or job.get("started_at") is None:
            await asyncio.sleep(0.05)
            status, _, found = await connections.call("GET", job["links"]["self"])
            job = found if status == 200 else job
        delays.append((datetime.fromisoformat(job["started_at"]) - begun).total_seconds())
        await asyncio.sleep(0.1)
    return delays


async def measure(port: int, seconds: float, submits: float, polls: float) -> dict[str, Any]:
    """The facts of all phases."""
    unloaded = await start_delays(port)
    connections = Connections(port, CONNECTIONS)
    submitted, polled = Answers(), Answers()
    known: list[str] = []

    async def submit(due: float) -> None:
        body = {**BODY, "priority": "bulk"}
        job = await timed(connections, submitted, due, "POST", "/generate", body)
        if job is not None:
            known.append(job["links"]["self"])

    async def poll(due: float) -> None:
        path = known[len(polled.seconds) * 7919 % len(known)] if known else "/healthz"
        await timed(connections, polled, due, "GET", path)

    await asyncio.gather(at_rate(submits, seconds, submit), at_rate(polls, seconds, poll))
    steady = {"submit": submitted.facts(), "poll": polled.facts()}

    flood = Answers()

    async def push(due: float) -> None:
        body = {**BODY, "priority": "bulk"}
        await timed(connections, flood, due, "POST", "/generate", body)

    overloaded, _ = await asyncio.gather(
        start_delays(port), at_rate(10 * submits, max(seconds / 6, 2), push)
    )
    return {
        "submits_per_second": submits,
        "polls_per_second": polls,
        "steady": steady,
        "overload": flood.facts(),
        "interactive_start_s": {
            "unloaded_median": round(statistics.median(unloaded), 3),
            "overloaded_median": round(statistics.median(overloaded), 3),
        },
    }


def main() -> None:
    """Run all phases and write the facts."""
    parser = argparse.ArgumentParser(description="Submissions and polls at fixed rates.")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--submits", type=float, default=200.0, help="A second.")
    parser.add_argument("--polls", type=float, default=500.0, help="A second.")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cdvae-load-") as folder:
        place = Place(Path(folder), workers=1)
        place.environment["CDVAE_MAX_QUEUED"] = "1000000"
        place.environment["CDVAE_LOG_LEVEL"] = "WARNING"
        try:
            place.tend()
            undisturbed(Client(place.port))
            facts = asyncio.run(
                measure(place.port, options.seconds, options.submits, options.polls)
            )
        finally:
            place.close()
    facts["load_average"] = round(os.getloadavg()[0], 1)
    facts["command"] = "python -m benchmarks.load " + " ".join(sys.argv[1:])
    text = json.dumps(facts, indent=1)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
