"""What the service costs beside the command: wall and processor time of the same crystals.

    python benchmarks/service_overhead.py [--model NAME] [--crystals 256] [--rounds 3] [--out FILE]

In turn: `POST /generate` to a warm service, and `cdvae sample`. The command also starts Python and
loads the model, which a service does once: `start` is the time of `cdvae sample -n 1`, and the
ratios are those of the service to the command less that start. `start_ms` is the time from the
submission of a job to its start on an idle worker, as its status has it. Both use all cores.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from coalescing import burst
from running import Client, service
from timing import ROOT, Seconds, arguments, emit

from cdvae.compute import available_threads

STARTS = 20


def command(model: str, crystals: int, out: Path) -> Seconds:
    """Of `cdvae sample`, all of it."""
    program = Path(sys.executable).with_name("cdvae")
    words = ["sample", model, "-n", str(crystals), "--seed", "1", "--out", str(out)]
    before, begun = os.times(), time.perf_counter()
    subprocess.run([program, *words], cwd=ROOT, check=True, capture_output=True)
    after = os.times()
    cpu = after.children_user - before.children_user
    cpu += after.children_system - before.children_system
    return Seconds(time.perf_counter() - begun, cpu)


def start_seconds(client: Client, model: str) -> list[float]:
    """From the submission to the start of small jobs, one after another."""
    delays = []
    for seed in range(STARTS):
        body = {"model": model, "num_samples": 1, "seed": seed}
        job = client.done("/generate", {**body, "sampler": {"name": "ancestral", "nfe": 1}})
        created, started = (datetime.fromisoformat(job[k]) for k in ("created_at", "started_at"))
        delays.append((started - created).total_seconds())
        time.sleep(0.2)
    return delays


def main() -> None:
    """Prints the ratios."""
    options = arguments(__doc__ or "", model="perov-5", crystals=256, rounds=3)
    variables = {
        "CDVAE_MODEL_STORE": str(ROOT / "model_store"),
        "CDVAE_WORKER_METRICS_PORT": "0",
        "CDVAE_THREADS": str(available_threads()),
        "CDVAE_DEVICE": "cpu",
        "CDVAE_LOG_LEVEL": "WARNING",
        "CDVAE_PRELOAD": options.model,
    }
    body = {"model": options.model, "num_samples": options.crystals, "seed": 1}
    served, called, starts = [], [], []
    with tempfile.TemporaryDirectory() as place, service(Path(place), variables) as (_, client):
        burst(client, [{**body, "num_samples": 2}])
        delays = start_seconds(client, options.model)
        for number in range(options.rounds):
            served.append(burst(client, [body])[0])
            out = Path(place) / f"out{number}"
            called.append(command(options.model, options.crystals, out))
            starts.append(command(options.model, 1, out))

    def median(runs: list[Seconds], clock: str) -> float:
        return statistics.median(getattr(run, clock) for run in runs)

    ratios = {
        clock: round(median(served, clock) / (median(called, clock) - median(starts, clock)), 3)
        for clock in ("wall", "cpu")
    }
    emit(
        {
            "model": options.model,
            "crystals": options.crystals,
            "threads": available_threads(),
            "service": {c: round(median(served, c), 2) for c in ("wall", "cpu")},
            "cdvae_sample": {c: round(median(called, c), 2) for c in ("wall", "cpu")},
            "start": {c: round(median(starts, c), 2) for c in ("wall", "cpu")},
            "ratio": ratios,
            "start_ms": {
                "median": round(1000 * statistics.median(delays), 1),
                "most": round(1000 * max(delays), 1),
            },
        },
        options.out,
    )


if __name__ == "__main__":
    main()
