"""A service whose processes can be killed one by one, and its client."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psutil
from redis import Redis

from cdvae.testing import write_tiny_model
from cdvae_schema.wire import FIELD_ATTEMPTS, LEASES_KEY
from cdvae_service.cli.stack.redis_server import RedisServer
from cdvae_service.cli.stack.stack import free_port
from tests.waiting import HANG_SECONDS
from tests.worker.conftest import BEHAVIOURS
from tests.worker.laboratory import Lab, executors, wait_until

FINAL = ("succeeded", "failed", "cancelled")


@dataclass
class FrontEnd:
    """A running `cdvae api`."""

    process: subprocess.Popen[bytes]
    client: httpx2.Client


@dataclass
class Site:
    """Redis, a laboratory for workers, any number of front ends."""

    folder: Path
    front_ends: list[FrontEnd] = field(default_factory=list)

    def open(self) -> None:
        self.redis = RedisServer(self.folder / "redis")
        self.redis.start()
        self.lab = Lab(self.folder, self.redis.url, Redis.from_url(self.redis.url))

    def close(self) -> None:
        running = [one.process for one in self.front_ends] + self.lab.workers
        for process in running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in running:
            process.wait(20)
        for one in self.front_ends:
            one.client.close()
        self.lab.redis.close()
        self.redis.stop()

    def start_api(self, **environment: str) -> httpx2.Client:
        """Return a client of a new front end that answers."""
        port = free_port()
        variables = {
            "CDVAE_HOME": str(self.folder / "home"),
            "CDVAE_REDIS_URL": self.redis.url,
            "CDVAE_MODEL_STORE": str(self.folder / "store"),
            **environment,
        }
        with (self.folder / "api.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "cdvae_service.cli.entry", "api", "--port", str(port)],
                env=os.environ | variables,
                stderr=log,
            )
        client = httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)
        self.front_ends.append(FrontEnd(process, client))

        def answers() -> bool:
            assert process.poll() is None, (self.folder / "api.log").read_text()
            try:
                return bool(client.get("/healthz").status_code == 200)
            except httpx2.TransportError:
                return False

        wait_until(answers, "a front end")
        return client

    def kill_redis(self) -> None:
        """Kill Redis, like a crash."""
        process = self.redis._process
        assert process is not None
        process.kill()
        process.wait()

    def attempts(self, job: str) -> int:
        """Return the number of processes that were lost with the job."""
        return int(self.lab.redis.hget(f"rq:job:{job}", FIELD_ATTEMPTS) or 0)


@contextmanager
def open_site(folder: Path) -> Iterator[Site]:
    """Yield a site in `folder` with Redis and models that misbehave; its processes end with it."""
    tiny = write_tiny_model(folder / "store")
    for name in BEHAVIOURS:
        copy = folder / "store" / name / "1"
        shutil.copytree(tiny, copy)
        card = json.loads((copy / "card.json").read_text())
        (copy / "card.json").write_text(json.dumps({**card, "name": name}))
    (folder / "store" / "default.txt").write_text("tiny\n")
    site = Site(folder)
    site.open()
    yield site
    site.close()


def submit(client: httpx2.Client, model: str, **body: Any) -> str:
    """Submit a job; return its id."""
    answer = client.post("/generate", json={"model": model, "sampler": FAST, **body})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


FAST = {"name": "ancestral", "nfe": 5}


def status(client: httpx2.Client, job: str) -> dict[str, Any]:
    answer = client.get(f"/jobs/{job}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def wait_for(
    client: httpx2.Client, job: str, *states: str, timeout: float = HANG_SECONDS
) -> dict[str, Any]:
    """Return the status once the job is in one of these states, by default a final one."""
    wanted = states or FINAL

    def there() -> dict[str, Any] | None:
        answer = client.get(f"/jobs/{job}")  # an outage may be part of the test
        found: dict[str, Any] = answer.json()
        return found if answer.status_code == 200 and found["state"] in wanted else None

    reached: dict[str, Any] = wait_until(there, f"{wanted} of {job}", timeout)
    return reached


def wait_for_crystals(client: httpx2.Client, job: str, number: int) -> None:
    """Return when `number` crystals of a running job are stored."""
    wait_until(lambda: status(client, job)["progress"]["samples_done"] >= number, "crystals")


def crystals(client: httpx2.Client, job: str, model: str) -> str:
    """Return the crystals of a result as text, with a placeholder for the name of the model."""
    answer = client.get(f"/jobs/{job}/result")
    assert answer.status_code == 200, answer.text
    return json.dumps(answer.json()["crystals"]).replace(f"{model}@1", "MODEL")


def undisturbed(client: httpx2.Client, **body: Any) -> str:
    """Return the crystals of the same request to a model with the same chunks and no faults."""
    job = submit(client, "pairs", **body)
    assert wait_for(client, job)["state"] == "succeeded"
    return crystals(client, job, "pairs")


def holder(site: Site, job: str) -> subprocess.Popen[bytes]:
    """Return the worker process that has the job."""
    name = site.lab.redis.hget(LEASES_KEY, job)
    (pid,) = [one.pid for one in site.lab.presences() if one.name.encode() == name]
    (found,) = [worker for worker in site.lab.workers if worker.pid == pid]
    return found


def family(worker: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return a worker and its executors."""
    return [psutil.Process(worker.pid), *executors(worker)]


def events(lines: Iterator[str]) -> Iterator[tuple[str, str, str]]:
    """Yield id, name and data of the server-sent events in a response."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if line and name:
            fields[name] = value
        elif "event" in fields:
            yield fields["id"], fields["event"], fields["data"]
            fields = {}
