"""Send submissions and polls at fixed rates to one service, then ten times as many submissions.

    python -m benchmarks.service.load --seconds 60 --out benchmarks/service/load.json

Claims: the service answers 200 submissions and 500 polls per second for a minute without an error,
a submission within 50 ms (99th percentile). Of ten times as many submissions it refuses some, only
with 429 or 503 and `Retry-After`, and interactive jobs start within twice their usual time.

Everything runs on this machine: `cdvae serve` with a tiny model, and this client, which shares the
cores. `cpu_seconds` has the processor time of each part in the steady phase; `claims` says which
claims hold. The exit status is 1 if one does not.
"""

import argparse
import asyncio
import gc
import json
import os
import statistics
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from benchmarks.service.open_loop import Answers, Connections, at_rate, timed
from benchmarks.service.running import service
from cdvae.testing import write_tiny_model
from cdvae_service.cli.stack.stack import free_port

CONNECTIONS = 200
INTERACTIVE = 20  # jobs whose start is timed
BODY = {"num_samples": 1, "seed": 1, "sampler": {"name": "ancestral", "nfe": 1}}
P99_MS = 50.0
SLOWER = 2.0  # times that an interactive job's start may take longer under overload
ROLES = {"worker.executor.executor": "work_executor", "worker": "worker", "api": "front_end"}


def cpu_seconds() -> dict[str, float]:
    """Return the processor time so far of each part of the service and the client, in s."""
    used: dict[str, float] = {"client": time.process_time()}
    for process in psutil.Process().children(recursive=True):
        line = process.cmdline()
        role = next((name for word, name in ROLES.items() if word in line), None)
        if role is None:  # a front end of several is spawned by the first
            role = "redis" if "valkey" in line[0] else "front_end"
        times = process.cpu_times()
        used[role] = used.get(role, 0.0) + times.user + times.system
    return used


async def start_delays(port: int) -> list[float]:
    """Return the seconds from submission to start of interactive jobs, one after another."""
    connections = Connections(port, 1)
    delays = []
    for _ in range(INTERACTIVE):
        job = None
        while job is None:
            body = {**BODY, "priority": "interactive"}
            status, headers, job = await connections.call("POST", "/generate", body)
            if status != 202:
                job = None
                await asyncio.sleep(float(headers["retry-after"]))
        begun = datetime.fromisoformat(job["created_at"])
        while job.get("started_at") is None:
            await asyncio.sleep(0.05)
            status, _, found = await connections.call("GET", job["links"]["self"])
            job = found if status == 200 else job
        delays.append((datetime.fromisoformat(job["started_at"]) - begun).total_seconds())
        await asyncio.sleep(0.1)
    return delays


async def measure(port: int, seconds: float, submits: float, polls: float) -> dict[str, Any]:
    """Return the facts of all phases."""
    unloaded = statistics.median(await start_delays(port))
    connections = Connections(port, CONNECTIONS)
    submitted, polled, flood = Answers(), Answers(), Answers()
    known: list[str] = []

    async def submit(due: float) -> None:
        body = {**BODY, "priority": "bulk"}
        job = await timed(connections, submitted, due, "POST", "/generate", body)
        if job is not None:
            known.append(job["links"]["self"])

    async def poll(due: float) -> None:
        path = known[len(polled.seconds) * 7919 % len(known)] if known else "/healthz"
        await timed(connections, polled, due, "GET", path)

    async def push(due: float) -> None:
        await timed(connections, flood, due, "POST", "/generate", {**BODY, "priority": "bulk"})

    before = cpu_seconds()
    await asyncio.gather(at_rate(submits, seconds, submit), at_rate(polls, seconds, poll))
    used = {role: round(spent - before.get(role, 0), 1) for role, spent in cpu_seconds().items()}
    overloaded = start_delays(port)
    flooding = at_rate(10 * submits, max(seconds / 6, 2), push)
    delays, _ = await asyncio.gather(overloaded, flooding)
    return {
        "submits_per_second": submits,
        "polls_per_second": polls,
        "seconds": seconds,
        "steady": {"submit": submitted.facts(), "poll": polled.facts(), "cpu_seconds": used},
        "overload": flood.facts(),
        "interactive_start_s": {
            "unloaded_median": round(unloaded, 3),
            "overloaded_median": round(statistics.median(delays), 3),
        },
        "claims": claims(submitted, polled, flood, statistics.median(delays) / unloaded),
    }


def claims(submitted: Answers, polled: Answers, flood: Answers, slower: float) -> dict[str, bool]:
    """Return which claims hold."""
    p99 = submitted.facts()["p99_ms"]
    refusals = {202, 429, 503}
    return {
        "no_error": set(submitted.statuses) == {202}
        and set(polled.statuses) == {200}
        and not submitted.unanswered + polled.unanswered,
        f"submit_p99_within_{P99_MS:g}_ms": p99 is not None and p99 <= P99_MS,
        "overload_is_refused_as_promised": set(flood.statuses) <= refusals
        and not flood.silent_refusals + flood.unanswered,
        f"interactive_starts_within_{SLOWER:g}_times": slower <= SLOWER,
    }


def main() -> int:
    """Run all phases and write the facts."""
    parser = argparse.ArgumentParser(description="Submissions and polls at fixed rates.")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--submits", type=float, default=200.0, help="Per second.")
    parser.add_argument("--polls", type=float, default=500.0, help="Per second.")
    parser.add_argument("--processes", type=int, default=2, help="Number of front-end processes.")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    gc.disable()  # its pauses would count as latency of the service
    with tempfile.TemporaryDirectory(prefix="cdvae-load-") as place:
        folder = Path(place)
        write_tiny_model(folder / "store")
        (folder / "store" / "default.txt").write_text("tiny\n")
        variables = {
            "CDVAE_MODEL_STORE": str(folder / "store"),
            "CDVAE_API_PROCESSES": str(options.processes),
            "CDVAE_WORKER_METRICS_PORT": str(free_port()),
            "CDVAE_DEVICE": "cpu",
            "CDVAE_THREADS": "1",
            "CDVAE_MAX_QUEUED": "1000000",  # the queue never refuses
            "CDVAE_LOG_LEVEL": "WARNING",
        }
        with service(folder / "home", variables) as (stack, _):
            facts = asyncio.run(
                measure(stack.port, options.seconds, options.submits, options.polls)
            )
    facts["cores"] = os.cpu_count()
    facts["front_end_processes"] = options.processes
    facts["load_average_before"] = round(load, 1)
    facts["command"] = "python -m benchmarks.service.load " + " ".join(sys.argv[1:])
    text = json.dumps(facts, indent=1)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")
    return int(not all(facts["claims"].values()))


if __name__ == "__main__":
    raise SystemExit(main())
