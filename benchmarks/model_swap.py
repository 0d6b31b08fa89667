"""A new version of a model, taken up under load and given back again.

Claim: no job fails, and none waits longer than the new model takes to load.

    python benchmarks/model_swap.py [--seconds 60] [--out FILE]

Clients submit small jobs one after the other and wait for each. After a third of the time the store
gets a new version (`cdvae models add`), after two thirds the alias goes back to the old one. Prints
the numbers as JSON; exit status 1 if a job did not succeed or one of the versions was not used.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from reporting import commit, hardware
from running import Client, service

from cdvae_service.cli.stack.stack import free_port
from cdvae_service.models.local_store import LocalStore
from cdvae_service.models.publish import add, set_default

ROOT = Path(__file__).parents[1]
CLIENTS = 2
BODY = {"model": "perov-5", "num_samples": 2, "sampler": {"name": "ancestral", "nfe": 20}}


@dataclass(frozen=True)
class Ended:
    """One job: when it was submitted (s after the start), how long it took, what it was."""

    at: float
    seconds: float
    state: str
    model: str


def submit(client: Client, started: float, until: float, ended: list[Ended]) -> None:
    """Jobs one after the other."""
    while (at := time.monotonic() - started) < until:
        status = client.done("/generate", BODY)
        seconds = time.monotonic() - started - at
        ended.append(Ended(at, seconds, status["state"], status["request"]["model"]))


def prepare(folder: Path) -> tuple[LocalStore, str, Path, str]:
    """A store with the shipped version of the model, its reference, and a newer one beside it."""
    shipped = LocalStore(ROOT / "model_store")
    name, version = shipped.resolve("perov-5")
    store = folder / "store"
    shutil.copytree(shipped.path(name, version), store / name / version)
    newer = folder / "new" / "newer"
    shutil.copytree(shipped.path(name, version), newer)
    card = json.loads((newer / "card.json").read_text())
    (newer / "card.json").write_text(json.dumps(card | {"version": f"{version}.1"}))
    return LocalStore(store), f"{name}@{version}", newer, f"{name}@{version}.1"


def latency(jobs: list[Ended]) -> dict[str, float]:
    """Median and maximum in seconds."""
    seconds = [job.seconds for job in jobs]
    return {
        "jobs": len(seconds),
        "median": round(statistics.median(seconds), 3),
        "max": round(max(seconds), 3),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    third = arguments.seconds / 3
    ended: list[Ended] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        store, old, newer, new = prepare(folder)
        variables = {
            "CDVAE_MODEL_STORE": str(store.folder),
            "CDVAE_WORKER_METRICS_PORT": str(free_port()),
            "CDVAE_THREADS": "1",
        }
        with service(folder / "home", variables) as (_, client):
            started = time.monotonic()
            threads = [
                threading.Thread(target=submit, args=(client, started, 3 * third, ended))
                for _ in range(CLIENTS)
            ]
            for thread in threads:
                thread.start()
            time.sleep(third)
            swapped = time.monotonic() - started
            add(store, newer)
            time.sleep(third)
            set_default(store, old)
            for thread in threads:
                thread.join()
    after = [job for job in ended if swapped <= job.at < swapped + 5]
    record = {
        "commit": commit(),
        "hardware": hardware(),
        "jobs": len(ended),
        "not_succeeded": sum(job.state != "succeeded" for job in ended),
        "by_version": {x: sum(job.model == x for job in ended) for x in (old, new)},
        "seconds_before": latency([job for job in ended if job.at < swapped]),
        "seconds_in_the_5_s_after": latency(after),
        "seconds_later": latency([job for job in ended if job.at >= swapped + 5]),
    }
    text = json.dumps(record, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")
    return int(record["not_succeeded"] > 0 or not all(record["by_version"].values()))


if __name__ == "__main__":
    raise SystemExit(main())
