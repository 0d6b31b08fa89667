"""Start `cdvae serve` as a process and talk to it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from cdvae.testing import write_tiny_model
from cdvae_service.cli.stack.stack import free_port
from tests.waiting import HANG_SECONDS

CDVAE = [sys.executable, "-m", "cdvae_service.cli.entry"]
FINAL = ("succeeded", "failed", "cancelled")
SRTIO3 = """data_SrTiO3
_cell_length_a 3.905
_cell_length_b 3.905
_cell_length_c 3.905
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Sr1 Sr 0 0 0
Ti1 Ti 0.5 0.5 0.5
O1 O 0.5 0.5 0
O2 O 0.5 0 0.5
O3 O 0 0.5 0.5
"""


def environment(folder: Path) -> dict[str, str]:
    """Create a store with the tiny model and a home in `folder`."""
    store = folder / "store"
    if not store.exists():
        write_tiny_model(store)
        (store / "default.txt").write_text("tiny\n")
    variables = {
        "CDVAE_HOME": str(folder / "home"),
        "CDVAE_MODEL_STORE": str(store),
        "CDVAE_DEVICE": "cpu",
        "CDVAE_THREADS": "1",
        "CDVAE_SHUTDOWN_GRACE": "1",
        "CDVAE_WORKER_METRICS_PORT": str(free_port()),
    }
    # The settings of this machine must not change the test.
    clean = {name: v for name, v in os.environ.items() if not name.startswith("CDVAE_")}
    return clean | variables


@dataclass
class Answer:
    """Status, headers and body of an HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.body))


@dataclass
class Service:
    """A running service."""

    folder: Path
    port: int = field(default_factory=free_port)
    variables: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None

    def start(self, timeout: float = HANG_SECONDS) -> None:
        """Wait until the service reports that it is ready."""
        self.variables = environment(self.folder) | self.settings
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*CDVAE, "serve", "--port", str(self.port)],
                env=self.variables,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        end = time.monotonic() + timeout
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("ready: "):
                return
            assert time.monotonic() < end
        raise AssertionError(f"it ended: {self.log.read_text()}")

    @property
    def log(self) -> Path:
        return self.folder / "serve.log"

    def processes(self) -> list[psutil.Process]:
        """Return all processes of the service."""
        assert self.process is not None
        return psutil.Process(self.process.pid).children(recursive=True)

    def worker(self) -> psutil.Process:
        (found,) = [p for p in self.processes() if p.cmdline()[-1] == "worker"]
        return found

    def executors(self) -> list[psutil.Process]:
        return self.worker().children()

    def executor(self) -> psutil.Process:
        (found,) = self.executors()
        return found

    def wait_until(self, condition: Callable[[], Any], timeout: float = HANG_SECONDS) -> None:
        """Wait until the condition holds."""
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.05)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        status = self.process.wait(HANG_SECONDS)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status

    def call(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send one request, a text as CIF and anything else as JSON, and return the answer."""
        kind = "chemical/x-cif" if isinstance(body, str) else "application/json"
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            method=method,
            data=None if body is None else data,
            headers={"Content-Type": kind, **(headers or {})},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read())

    def submit(self, path: str, body: Any) -> str:
        """Submit a job that is accepted and return its id."""
        answer = self.call("POST", path, body)
        assert answer.status == 202, answer.body
        return str(answer.json["id"])

    def status(self, job: str) -> dict[str, Any]:
        return self.call("GET", f"/jobs/{job}").json

    def started_again(self, job: str, before: str) -> bool:
        """Return whether the job runs again, after a run that began at `started_at`."""
        status = self.status(job)
        return bool(status["state"] == "running" and status["started_at"] != before)

    def metrics(self, *, worker: bool = False) -> dict[str, float]:
        """Return the samples of the front end or the worker, by name and labels as in the text."""
        port = self.variables["CDVAE_WORKER_METRICS_PORT"] if worker else self.port
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        samples = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
        return {name: float(value) for name, value in samples}

    def wait(self, job: str, *states: str, timeout: float = HANG_SECONDS) -> dict[str, Any]:
        """Wait until the job is in one of the states, by default a final one; return its status."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            status = self.status(job)
            if status["state"] in (states or FINAL):
                return status
            time.sleep(0.1)
        raise AssertionError(f"still {status}: {self.log.read_text()}")

    def result(self, job: str, kind: str = "application/json") -> Answer:
        answer = self.call("GET", f"/jobs/{job}/result", headers={"Accept": kind})
        assert answer.status == 200, answer.body
        return answer
