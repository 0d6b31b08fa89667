"""Many small requests against one large one, over HTTP.

    python benchmarks/coalescing.py [--model perov-5] [--requests 200] [--each 4] [--out FILE]

A service of its own with one worker gets one request of requests · each crystals, then as many
requests of `each` crystals at once, `--rounds` times in turn. `wall_ratio` and `cpu_ratio` compare
the medians; processor time is that of the whole service (front end, worker, executor) and does
not see other work on the machine. The crystals of a request must be those that it gives alone, and
an interactive request must not wait for a bulk one: `interactive_seconds` is its time while a bulk
job of all crystals runs, and on an idle service.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
from running import FINAL, Client, service
from timing import ROOT, Seconds, arguments, emit

SENDERS = 16


def used() -> float:
    """Seconds of processor time that the processes of the service have used."""
    times = [process.cpu_times() for process in psutil.Process().children(recursive=True)]
    return float(sum(each.user + each.system for each in times))


def wait(client: Client, job: dict[str, Any], poll: float) -> dict[str, Any]:
    """The job when it has ended; one that has ended by now costs no waiting."""
    while (job := client.call("GET", f"/jobs/{job['id']}"))["state"] not in FINAL:
        time.sleep(poll)
    assert job["state"] == "succeeded", job
    return job


def burst(client: Client, bodies: list[dict[str, Any]]) -> tuple[Seconds, list[dict[str, Any]]]:
    """All requests at once, to the end of the last one."""
    wall, cpu = time.perf_counter(), used()
    with ThreadPoolExecutor(SENDERS) as pool:
        jobs = list(pool.map(lambda body: client.call("POST", "/generate", body), bodies))
    ended = [wait(client, job, 0.2) for job in jobs]
    return Seconds(time.perf_counter() - wall, used() - cpu), ended


def cifs(client: Client, job: dict[str, Any]) -> list[str]:
    """The crystals of a job."""
    result = client.call("GET", f"/jobs/{job['id']}/result")
    return [crystal["cif"] for crystal in result["crystals"]]


def interactive(client: Client, body: dict[str, Any], bulk: dict[str, Any] | None) -> float:
    """Seconds of an interactive request, while ``bulk`` runs if there is one."""
    running = None
    if bulk is not None:
        running = client.call("POST", "/generate", {**bulk, "priority": "bulk"})
        while client.call("GET", f"/jobs/{running['id']}")["state"] == "queued":
            time.sleep(0.05)
        time.sleep(1.0)
    begun = time.perf_counter()
    job = client.call("POST", "/generate", {**body, "priority": "interactive"})
    wait(client, job, 0.02)
    seconds = time.perf_counter() - begun
    if running is not None:
        client.call("DELETE", f"/jobs/{running['id']}")
    return seconds


def main() -> int:
    """Prints both ratios; exit status 1 where crystals differ."""
    options = arguments(__doc__ or "", model="perov-5", requests=200, each=4, threads=2, rounds=1)
    total = options.requests * options.each
    common = {"model": options.model}
    small = [{**common, "num_samples": options.each, "seed": i} for i in range(options.requests)]
    variables = {
        "CDVAE_MODEL_STORE": str(ROOT / "model_store"),
        "CDVAE_WORKER_METRICS_PORT": "0",
        "CDVAE_THREADS": str(options.threads),
        "CDVAE_DEVICE": "cpu",
        "CDVAE_LOG_LEVEL": "WARNING",
        "CDVAE_PRELOAD": options.model,
    }
    large: list[Seconds] = []
    many: list[Seconds] = []
    with tempfile.TemporaryDirectory() as place, service(Path(place), variables) as (_, client):
        (_, [alone]) = burst(client, [small[-1]])
        for _ in range(options.rounds):
            large.append(burst(client, [{**common, "num_samples": total, "seed": 1}])[0])
            seconds, jobs = burst(client, small)
            many.append(seconds)
        same = cifs(client, jobs[-1]) == cifs(client, alone)
        idle = interactive(client, small[0], None)
        busy = interactive(client, small[1], {**common, "num_samples": total, "seed": 2})

    def median(runs: list[Seconds], clock: str) -> float:
        return statistics.median(getattr(run, clock) for run in runs)

    emit(
        {
            "model": options.model,
            "requests": options.requests,
            "crystals_each": options.each,
            "threads": options.threads,
            "one_request": {c: round(median(large, c), 2) for c in ("wall", "cpu")},
            "many_requests": {c: round(median(many, c), 2) for c in ("wall", "cpu")},
            "wall_ratio": round(median(many, "wall") / median(large, "wall"), 3),
            "cpu_ratio": round(median(many, "cpu") / median(large, "cpu"), 3),
            "same_crystals": same,
            "interactive_seconds": {"idle": round(idle, 2), "beside_bulk": round(busy, 2)},
            "cores": os.cpu_count(),
        },
        options.out,
    )
    return int(not same)


if __name__ == "__main__":
    raise SystemExit(main())
