"""Crystals per hour and core of each model through the whole service, and memory of a job in Redis.

    python -m benchmarks.service.capacity [--crystals 64] [--out FILE]

A worker with one thread gets one job of each model. The script measures the processor time of the
executor: sampling, analysis and files, without loading the model. Other work on the machine changes
it only through caches and clock (by up to a third, measured). The numbers are printed as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import psutil
from redis import Redis

from benchmarks.reporting import commit, hardware
from benchmarks.service.running import service
from cdvae_client import Client
from cdvae_service.cli.stack.stack import free_port
from cdvae_service.models.local_store import LocalStore

ROOT = Path(__file__).parents[2]
JOBS = 50


def process(word: str) -> psutil.Process:
    """Return the process of the service with ``word`` in its command."""
    family = psutil.Process().children(recursive=True)
    (found,) = [p for p in family if word in p.cmdline()]
    return found


def executor_seconds() -> float:
    """Return the processor time of the executor in s."""
    times = process("worker.executor.executor").cpu_times()
    return float(times.user + times.system)


def redis_bytes_per_job(client: Client, url: str) -> int:
    """Return the memory of a finished job in Redis, in bytes."""
    with Redis.from_url(url) as redis:
        before = redis.info("memory")["used_memory"]
        for seed in range(JOBS):
            sampler = {"name": "ancestral", "nfe": 1}
            client.generate(num_samples=1, seed=seed, sampler=sampler).wait()
        return int((redis.info("memory")["used_memory"] - before) / JOBS)


def measure(client: Client, model: str, crystals: int) -> dict[str, float]:
    """Return the numbers of one model."""
    client.generate(model=model, num_samples=2, seed=1).wait()
    before, begun = executor_seconds(), time.monotonic()
    result = client.generate(model=model, num_samples=crystals, seed=1).wait()
    wall, cpu = time.monotonic() - begun, executor_seconds() - before
    assert result.provenance is not None
    nfe = result.provenance.nfe
    return {
        "crystals": crystals,
        "nfe": nfe,
        "cpu_seconds": round(cpu, 2),
        "wall_seconds": round(wall, 2),
        "crystals_per_hour_and_core": round(3600 * crystals / cpu),
    }


def main() -> int:
    """Measure all models and print the record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--crystals", type=int, default=64)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    store = LocalStore(ROOT / "model_store")
    models = ["@".join(store.resolve(name)) for name in store.names()]
    variables = {
        "CDVAE_MODEL_STORE": str(store.folder),
        "CDVAE_WORKER_METRICS_PORT": str(free_port()),
        "CDVAE_THREADS": "1",
        "CDVAE_DEVICE": "cpu",
    }
    with tempfile.TemporaryDirectory() as place, service(Path(place), variables) as running:
        stack, client = running
        assert stack.redis is not None
        figures = {model: measure(client, model, arguments.crystals) for model in models}
        redis = redis_bytes_per_job(client, stack.redis.url)
    record = {
        "commit": commit(),
        "hardware": hardware(),
        "load": [round(value, 2) for value in os.getloadavg()],
        "models": figures,
        "redis_bytes_per_job": redis,
    }
    text = json.dumps(record, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
