"""The time that metrics cost a worker, as a share of sampling.

Claim: the metrics take at most 2 % of the time of sampling.

    python -m benchmarks.speed.metrics_overhead [--crystals 8] [--steps 100] [--out FILE]

The script compares processor times, which other processes hardly change: that of decoding one
batch, and that of its metrics (the executor's message through a pipe, the counters in their files,
its share of a scrape every 15 s). It prints the numbers as JSON; the exit status is 1 above 2 %.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import urllib.request
from pathlib import Path

from benchmarks.reporting import commit, hardware
from cdvae.compute import configure
from cdvae.inference import SamplerSpec, crystal_seed
from cdvae_service.cli.stack.stack import free_port
from cdvae_service.models.local_store import LocalStore
from worker.model.model_cache import load_engine
from worker.supervisor.worker_metrics import WorkerMetrics, start

ROOT = Path(__file__).parents[2]
LIMIT = 0.02
REPEATS = 2000
SCRAPES = 50
SCRAPE_EVERY = 15.0  # s, as in deploy/prometheus.yml


def sampling(store: LocalStore, model: str, crystals: int, steps: int) -> tuple[str, float]:
    """Return the exact reference and the seconds of the second batch, when caches are warm."""
    name, version = store.resolve(model)
    engine = load_engine(store.path(name, version), "cpu")
    seeds = [crystal_seed(1, index) for index in range(crystals)]
    for _ in range(2):
        begun = time.process_time()
        latents = engine.sample_latents(seeds)
        engine.decode(latents, seeds, SamplerSpec("ancestral", steps), lambda done, total: None)
        seconds = time.process_time() - begun
    return engine.reference, seconds


def counting(metrics: WorkerMetrics, model: str, crystals: int, steps: int) -> float:
    """Return the seconds of the metrics of one batch: message, pipe, counters."""
    reader, writer = os.pipe()
    message = {
        "event": "chunk",
        "model": model,
        "crystals": crystals,
        "valid": crystals,
        "nfe": crystals * steps,
        "gpu_memory_bytes": 0,
        "gpu_memory_total_bytes": 0,
    }
    begun = time.process_time()
    for _ in range(REPEATS):
        os.write(writer, json.dumps(message).encode() + b"\n")
        metrics.chunk_done(json.loads(os.read(reader, 65536)))
    return (time.process_time() - begun) / REPEATS


def scraping(port: int) -> float:
    """Return the seconds of one scrape, including the request."""
    begun = time.process_time()
    for _ in range(SCRAPES):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            answer.read()
    return (time.process_time() - begun) / SCRAPES


def main() -> int:
    """Measure and print the record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="perov-5")
    parser.add_argument("--crystals", type=int, default=8)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    configure(1)
    store = LocalStore(ROOT / "model_store")
    size = (arguments.crystals, arguments.steps)
    model, sample = sampling(store, arguments.model, *size)
    with tempfile.TemporaryDirectory() as home:
        port = free_port()
        metrics = start(store, Path(home), "127.0.0.1", port)
        metrics.know(store.references())
        count = counting(metrics, model, *size)
        scrape = scraping(port)
    share = count / sample + scrape / SCRAPE_EVERY
    record = {
        "commit": commit(),
        "hardware": hardware(),
        "model": model,
        "crystals": arguments.crystals,
        "steps": arguments.steps,
        "sampling_seconds": round(sample, 4),
        "counting_seconds": round(count, 7),
        "scrape_seconds": round(scrape, 5),
        "share": round(share, 6),
    }
    text = json.dumps(record, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")
    return int(share > LIMIT)


if __name__ == "__main__":
    raise SystemExit(main())
