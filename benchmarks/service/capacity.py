"""Crystals an hour on one core, by model, through the whole service, and memory of its parts.

    python -m benchmarks.service.capacity [--crystals 64] [--out FILE]

A worker with one thread gets one job a model. What counts is the processor time of its executor:
sampling, checks and files, without loading the model. Other work on the machine shows in it through
caches and clock alone (a third, measured), not through waiting. Prints the numbers as JSON.
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
    """The process of the service with that word in its command."""
    family = psutil.Process().children(recursive=True)
    (found,) = [p for p in family if word in p.cmdline()]
    return found


def executor_seconds() -> float:
    """Processor time that the executor has used."""
    times = process("worker.executor.executor").cpu_times()
    return float(times.user + times.system)


def megabytes() -> dict[str, int]:
    """Resident memory of the processes; the executor has two models loaded."""
    words = {"front_end": "api", "worker": "worker", "work_executor": "worker.executor.executor"}
    return {name: process(word).memory_info().rss >> 20 for name, word in words.items()}


def redis_bytes_a_job(client: Client, url: str) -> int:
    """What a finished job takes in Redis."""
    with Redis.from_url(url) as redis:
        before = redis.info("memory")["used_memory"]
        for seed in range(JOBS):
            sampler = {"name": "ancestral", "nfe": 1}
            client.generate(num_samples=1, seed=seed, sampler=sampler).wait()
        return int((redis.info("memory")["used_memory"] - before) / JOBS)


def measure(client: Client, model: str, crystals: int) -> dict[str, float]:
    """Numbers of one model."""
    client.generate(model=model, num_samples=2, seed=1).wait()
    before, begun = executor_seconds(), time.monotonic()
    result = client.generate(model=model, num_samples=crystals, seed=1).wait()
    wall, cpu = time.monotonic() - begun, executor_seconds() - before
    assert result.provenance is not None
    evaluations = result.provenance.nfe
    return {
        "crystals": crystals,
        "evaluations_a_crystal": evaluations,
        "cpu_seconds": round(cpu, 2),
        "wall_seconds": round(wall, 2),
        "crystals_an_hour_and_core": round(3600 * crystals / cpu),
    }


def main() -> int:
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
        memory = megabytes()
        redis = redis_bytes_a_job(client, stack.redis.url)
    record = {
        "commit": commit(),
        "hardware": hardware(),
        "load": [round(value, 2) for value in os.getloadavg()],
        "models": figures,
        "memory_megabytes": memory,
        "redis_bytes_a_job": redis,
    }
    text = json.dumps(record, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
