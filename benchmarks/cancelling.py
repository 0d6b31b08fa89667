"""How soon a running job has ended after it was cancelled, on the shipped models.

Claim: within 2 s, whatever the job is doing then.

    python benchmarks/cancelling.py [--jobs 10] [--out FILE]

Jobs of 2,000 crystals are cancelled at a random moment of their first seconds. Prints seconds from
the `DELETE` to the state `cancelled`, by model and kind, as JSON; exit status 1 above 2 s. Other
work on the machine shows in it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from pathlib import Path

from reporting import commit, hardware
from running import Client, service

from cdvae_service.cli.stack.stack import free_port
from cdvae_service.models.local_store import LocalStore

ROOT = Path(__file__).parents[1]
LIMIT = 2.0
FIRST_SECONDS = 4.0
BODIES = {
    "generate": ("/generate", {"num_samples": 2000}),
    "optimize": ("/optimize?property={property}", {"num_samples": 500}),
}


def seconds_to_stop(client: Client, path: str, body: dict[str, object], wait: float) -> float:
    """From the wish to cancel to the end of a job that has run for so long."""
    job = client.call("POST", path, body)
    place = job["links"]["self"]
    while client.call("GET", place)["state"] == "queued":
        time.sleep(0.02)
    time.sleep(wait)
    begun = time.monotonic()
    client.call("DELETE", place)
    while (state := client.call("GET", place)["state"]) == "running":
        time.sleep(0.02)
    assert state == "cancelled", f"it was {state} before it could be cancelled"
    return time.monotonic() - begun


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=10, help="Of each model and kind.")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    store = LocalStore(ROOT / "model_store")
    variables = {
        "CDVAE_MODEL_STORE": str(store.folder),
        "CDVAE_WORKER_METRICS_PORT": str(free_port()),
        "CDVAE_DEVICE": "cpu",
    }
    chance = random.Random(0)
    figures = {}
    with tempfile.TemporaryDirectory() as place, service(Path(place), variables) as (_, client):
        for name in store.names():
            card = client.call("GET", f"/models/{name}")
            client.done("/generate", {"model": name, "num_samples": 1, "seed": 1})  # loads it
            for kind, (path, body) in BODIES.items():
                where = path.format(property=next(iter(card["properties"])))
                taken = [
                    seconds_to_stop(
                        client, where, {"model": name, **body}, chance.uniform(0, FIRST_SECONDS)
                    )
                    for _ in range(arguments.jobs)
                ]
                figures[f"{kind} {name}"] = {
                    "median_seconds": round(statistics.median(taken), 2),
                    "max_seconds": round(max(taken), 2),
                }
    record = {
        "commit": commit(),
        "hardware": hardware(),
        "load": [round(value, 2) for value in os.getloadavg()],
        "jobs_each": arguments.jobs,
        "seconds_to_stop": figures,
    }
    text = json.dumps(record, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")
    return int(any(one["max_seconds"] > LIMIT for one in figures.values()))


if __name__ == "__main__":
    raise SystemExit(main())
