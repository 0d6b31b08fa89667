"""Run many small jobs while workers, Redis and the front end are killed at random.

    python -m benchmarks.service.chaos --jobs 2000 --out benchmarks/service/chaos.json

Everything runs on this machine in new processes, with a tiny model that the script makes. The run
ends after the last job or after `--minutes`. The script then counts

    lost      accepted jobs that Redis does not know or that have no complete result
    doubled   crystals or jobs that exist twice
    stuck     jobs that did not end in time
    differing jobs whose crystals differ, in any byte, from an undisturbed run of the seed

A job whose workers were killed twice fails as `worker_lost`, as documented; the script submits it
again, as its client would, and counts it under `submitted_again`.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from cdvae.testing import write_tiny_model
from cdvae_service.cli.stack.redis_server import RedisServer
from cdvae_service.cli.stack.stack import free_port

CDVAE = [sys.executable, "-m", "cdvae_service.cli.entry"]
SEEDS = 8
FINAL = ("succeeded", "failed", "cancelled")
AHEAD = 200  # jobs that are submitted before others have ended


@dataclass
class Place:
    """Redis, a front end and workers; each may be killed and started again."""

    folder: Path
    workers: int
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        write_tiny_model(self.folder / "store")
        (self.folder / "store" / "default.txt").write_text("tiny\n")
        self.redis = RedisServer(self.folder / "redis")
        self.redis.start()
        self.port = free_port()
        self.log = (self.folder / "log").open("wb")
        self.environment = os.environ | {
            "CDVAE_HOME": str(self.folder / "home"),
            "CDVAE_MODEL_STORE": str(self.folder / "store"),
            "CDVAE_REDIS_URL": self.redis.url,
            "CDVAE_DEVICE": "cpu",
            "CDVAE_THREADS": "1",
            "CDVAE_WORKER_METRICS_PORT": "0",
            "OMP_NUM_THREADS": "1",
        }

    def tend(self) -> None:
        """Start the processes that do not run."""
        wanted = {f"worker-{number}": ["worker"] for number in range(self.workers)}
        for name, words in {"api": ["api", "--port", str(self.port)], **wanted}.items():
            process = self.processes.get(name)
            if process is None or process.poll() is not None:
                self.processes[name] = subprocess.Popen(
                    [*CDVAE, *words], env=self.environment, stderr=self.log, stdout=self.log
                )
        if not self.redis.alive():
            self.redis.start()

    def kill(self, name: str) -> None:
        """Send SIGKILL to a process, as the kernel does without memory, and wait for its end."""
        if name == "redis":
            process = self.redis._process
            assert process is not None
            process.kill()
            process.wait()
        else:
            self.processes[name].kill()
            self.processes[name].wait()

    def close(self) -> None:
        """End all processes."""
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        self.redis.stop()
        self.log.close()


class Client:
    """A client that repeats unanswered requests with the same idempotency key."""

    def __init__(self, port: int) -> None:
        self._http = httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=10)

    def call(self, method: str, path: str, **options: Any) -> httpx2.Response | None:
        """Return the answer; None without an answer and after a 503."""
        try:
            answer = self._http.request(method, path, **options)
        except httpx2.TransportError:
            return None
        return None if answer.status_code == 503 else answer

    def insist(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """Return the answer, however often the request is repeated."""
        while (answer := self.call(method, path, **options)) is None:
            time.sleep(0.2)
        return answer

    def submit(self, key: str, seed: int) -> str | None:
        """Submit a job and return its id; None without an answer."""
        body = {"num_samples": 2, "seed": seed, "sampler": {"name": "ancestral", "nfe": 5}}
        answer = self.call("POST", "/generate", json=body, headers={"Idempotency-Key": key})
        return None if answer is None else str(answer.json()["id"])

    def crystals(self, job: str) -> str:
        """Return the crystals of a job as text; the text is empty without a result."""
        answer = self.insist("GET", f"/jobs/{job}/result")
        return json.dumps(answer.json()["crystals"]) if answer.status_code == 200 else ""


def undisturbed(client: Client) -> dict[int, str]:
    """Return the crystals of each seed from a run without kills."""
    found = {}
    for seed in range(SEEDS):
        job = None
        while job is None:
            job = client.submit(f"reference-{seed}", seed)
        headers = {"Prefer": "wait=60"}
        while client.insist("GET", f"/jobs/{job}", headers=headers).json()["state"] not in FINAL:
            pass
        found[seed] = client.crystals(job)
        assert found[seed], f"no reference for seed {seed}"
    return found


@dataclass
class Soak:
    """The jobs of a run and their states."""

    client: Client
    number: int
    ids: dict[int, str] = field(default_factory=dict)
    ended: dict[int, str] = field(default_factory=dict)  # state
    again: Counter[int] = field(default_factory=Counter)

    def key(self, number: int) -> str:
        """Return the idempotency key of a job."""
        return f"job-{number}-{self.again[number]}"

    def step(self) -> None:
        """Submit some jobs and read the states of others."""
        for number in range(self.number):
            if len(self.ids) - len(self.ended) >= AHEAD:
                break
            if number not in self.ids:
                job = self.client.submit(self.key(number), number % SEEDS)
                if job is None:
                    break
                self.ids[number] = job
        for number in [n for n in self.ids if n not in self.ended][:50]:
            answer = self.client.call("GET", f"/jobs/{self.ids[number]}")
            if answer is None:
                break
            status = answer.json()
            if answer.status_code == 404:
                self.ended[number] = "lost"
            elif status["state"] == "failed" and status["error"]["code"] == "worker_lost":
                self.again[number] += 1
                del self.ids[number]
            elif status["state"] in FINAL:
                self.ended[number] = status["state"]
            else:
                break  # jobs of one priority end about in order


def run(jobs: int, minutes: float, workers: int, every: float, seed: int) -> dict[str, Any]:
    """Return the facts of one run."""
    chance = random.Random(seed)
    kills: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="cdvae-chaos-") as folder:
        place = Place(Path(folder), workers)
        try:
            place.tend()
            client = Client(place.port)
            expected = undisturbed(client)
            soak = Soak(client, jobs)
            begun = time.monotonic()
            next_kill = begun + every
            while len(soak.ended) < jobs and time.monotonic() - begun < 60 * minutes:
                soak.step()
                place.tend()
                if time.monotonic() >= next_kill:
                    next_kill = time.monotonic() + chance.uniform(0.5, 1.5) * every
                    names = [f"worker-{n}" for n in range(workers)] * 3 + ["redis", "redis", "api"]
                    victim = chance.choice(names)
                    kills[victim.partition("-")[0]] += 1
                    place.kill(victim)
                time.sleep(0.02)
            seconds = time.monotonic() - begun
            place.tend()
            return {**count(soak, expected), "kills": dict(kills), "seconds": round(seconds, 1)}
        finally:
            place.close()


def count(soak: Soak, expected: dict[int, str]) -> dict[str, Any]:
    """Return how many jobs were lost, doubled, stuck or differ."""
    lost = [n for n, state in soak.ended.items() if state == "lost"]
    differing, incomplete = [], []
    for number, state in soak.ended.items():
        if state == "succeeded":
            text = soak.client.crystals(soak.ids[number])
            if not text:
                incomplete.append(number)
            elif text != expected[number % SEEDS]:
                differing.append(number)
    listed: list[str] = []
    path = "/jobs?limit=100"
    while path:
        answer = soak.client.insist("GET", path)
        listed += [one["id"] for one in answer.json()["jobs"]]
        path = answer.headers.get("link", "").partition(">")[0].removeprefix("<")
    most = SEEDS + soak.number + sum(soak.again.values())
    repeated = len(soak.ids) - len(set(soak.ids.values()))
    return {
        "jobs": soak.number,
        "states": dict(Counter(soak.ended.values())),
        "lost": len(lost) + len(incomplete),
        "doubled": repeated + max(0, len(listed) - most),
        "stuck": soak.number - len(soak.ended),
        "differing": len(differing),
        "submitted_again": sum(soak.again.values()),
    }


def main() -> None:
    """Run the soak, write the facts, fail unless nothing was lost, doubled, stuck or different."""
    parser = argparse.ArgumentParser(description="Kill workers and Redis while jobs run.")
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--minutes", type=float, default=60.0, help="The run ends after these.")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--every", type=float, default=15.0, help="Seconds between two kills.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the kills.")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    facts = run(options.jobs, options.minutes, options.workers, options.every, options.seed)
    facts["load_average"] = round(os.getloadavg()[0], 1)
    facts["command"] = "python -m benchmarks.service.chaos " + " ".join(sys.argv[1:])
    text = json.dumps(facts, indent=1)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")
    if facts["lost"] or facts["doubled"] or facts["stuck"] or facts["differing"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
