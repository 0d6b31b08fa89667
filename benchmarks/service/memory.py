"""Memory of every process of the service after jobs of all models, in MB.

    python -m benchmarks.service.memory [--crystals 256] [--large 1000] [--threads 2] [--out FILE]

Each model gets small jobs (generation, reconstruction, optimization) and one of `--crystals`
crystals; then all models get many jobs at once, and the default model generates `--large` crystals.
NFE are few, because they change the time but not the memory. After each step the script reads the
proportional set size (PSS) of each process, in which pages that processes share count in parts, and
the largest resident size (RSS) of the executor so far.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from benchmarks.reporting import ROOT, commit, hardware
from benchmarks.service.running import service
from cdvae_client import Client
from cdvae_service.cli.stack.stack import free_port
from cdvae_service.models.local_store import LocalStore

EXECUTOR = "worker.executor.executor"
SAMPLER = {"name": "ancestral", "nfe": 4}


def role(process: psutil.Process) -> str:
    """Return what the process is, from its command and its parents."""
    words = process.cmdline()
    if EXECUTOR in words:
        return "executor"
    if any(EXECUTOR in parent.cmdline() for parent in process.parents()):
        return "analysis" if "spawn_main" in " ".join(words) else "analysis tracker"
    if any("api" in parent.cmdline() for parent in process.parents()):
        return "front end child"
    if "api" in words:
        return "front end"
    return "supervisor" if "worker" in words else Path(words[0]).name


def megabytes() -> dict[str, list[int]]:
    """Return the PSS of all processes by role, and the peak RSS of the executor."""
    found: dict[str, list[int]] = {}
    for process in psutil.Process().children(recursive=True):
        name = role(process)
        found.setdefault(name, []).append(process.memory_full_info().pss >> 20)
        if name == "executor":
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
            (line,) = [one for one in status.splitlines() if one.startswith("VmHWM:")]
            found["executor peak RSS"] = [int(line.split()[1]) >> 10]
    return found


def steps(client: Client, models: list[str], crystals: int, large: int) -> Iterator[str]:
    """Run the jobs; yield the name of each after its end."""
    yield "start"
    for model in models:
        first = client.generate(model=model, num_samples=8, seed=1, sampler=SAMPLER).wait()
        client.reconstruct(list(first), model=model, seed=1, sampler=SAMPLER).wait()
        yield f"{model}: generate 8, reconstruct 8"
    for model in models:
        card = client.model(model)
        prop = next(iter(card.properties))
        client.optimize(prop, model=model, num_samples=4, steps=4, seed=1, sampler=SAMPLER).wait()
        yield f"{model}: optimize 4"
    for model in models:
        client.generate(model=model, num_samples=crystals, seed=2, sampler=SAMPLER).wait()
        yield f"{model}: generate {crystals}"
    jobs = [
        client.generate(model=m, num_samples=crystals // 2, seed=3, sampler=SAMPLER)
        for m in models * 2
    ]
    for job in jobs:
        job.wait()
    yield f"all models at once, twice: generate {crystals // 2}"
    small = [
        client.generate(model=m, num_samples=8, seed=n, sampler=SAMPLER)
        for n in range(24)
        for m in models
    ]
    for job in small:
        job.wait()
    yield "all models at once, 24 times: generate 8"
    client.generate(num_samples=large, seed=4, sampler=SAMPLER).wait()
    yield f"default model: generate {large}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--crystals", type=int, default=256)
    parser.add_argument("--large", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    store = LocalStore(ROOT / "model_store")
    models = ["@".join(store.resolve(name)) for name in store.names()]
    variables = {
        "CDVAE_MODEL_STORE": str(store.folder),
        "CDVAE_WORKER_METRICS_PORT": str(free_port()),
        "CDVAE_THREADS": str(arguments.threads),
        "CDVAE_DEVICE": "cpu",
    }
    memory: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place, service(Path(place), variables) as (_, client):
        for step in steps(client, models, arguments.crystals, arguments.large):
            memory[step] = megabytes()
            print(step, json.dumps(memory[step]), flush=True)
    record = {"commit": commit(), "hardware": hardware(), "megabytes": memory}
    if arguments.out:
        arguments.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
