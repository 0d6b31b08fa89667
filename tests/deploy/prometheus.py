"""The real Prometheus with the configuration of `deploy/`, its targets on loopback."""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cdvae_service.cli.stack.stack import free_port
from tests.needs import program
from tests.waiting import HANG_SECONDS

DEPLOY = Path(__file__).parents[2] / "deploy"
SCRAPE_SECONDS = 1

Series = list[dict[str, Any]]


@dataclass
class Prometheus:
    """A server in `folder` that scrapes `targets`, ports on 127.0.0.1 by job name."""

    folder: Path
    targets: dict[str, int]
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Wait until it is ready and has scraped every target."""
        binary = program("prometheus", "Debian's prometheus")
        shutil.copy(DEPLOY / "alerts.yml", self.folder)
        config = self.folder / "prometheus.yml"
        config.write_text(yaml.safe_dump(self._config()))
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [
                    binary,
                    f"--config.file={config}",
                    f"--storage.tsdb.path={self.folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                ],
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + HANG_SECONDS
        while not (self._ready() and self._scraped()):
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < end, (self.folder / "log").read_text()
            time.sleep(0.2)

    def _config(self) -> dict[str, Any]:
        """Return `deploy/prometheus.yml` with ports of this machine and a shorter interval."""
        config: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
        often = f"{SCRAPE_SECONDS}s"
        config["global"] = dict.fromkeys(config["global"], often)
        jobs = {job["job_name"]: job for job in config["scrape_configs"]}
        for name, port in self.targets.items():
            del jobs[name]["dns_sd_configs"]
            jobs[name]["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
        config["scrape_configs"] = [jobs[name] for name in self.targets]
        return config

    def _ready(self) -> bool:
        """Return whether it listens and has read its storage (it answers 503 before)."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=30):
                return True
        except OSError:
            return False

    def _scraped(self) -> bool:
        return self.value("sum(up)") == len(self.targets)

    def query(self, expression: str) -> Series:
        """Return the present vector of an expression; AssertionError for invalid PromQL."""
        return self._ask("query", query=expression)

    def query_range(self, expression: str, start: float, end: float, step: float) -> Series:
        """Return the matrix of an expression between two times."""
        return self._ask("query_range", query=expression, start=start, end=end, step=step)

    def value(self, expression: str) -> float | None:
        """Return the single present value of an expression; None for an empty answer."""
        found = self.query(expression)
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else None

    def soon(self, expression: str, wanted: float, timeout: float = 30.0) -> None:
        """Wait until the expression has this value."""
        end = time.monotonic() + timeout
        while (value := self.value(expression)) != wanted:
            assert time.monotonic() < end, f"{expression}: {value}, not {wanted}"
            time.sleep(0.3)

    def _ask(self, kind: str, **parameters: Any) -> Series:
        words = urllib.parse.urlencode(parameters)
        url = f"http://127.0.0.1:{self.port}/api/v1/{kind}?{words}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                data: Series = json.load(answer)["data"]["result"]
                return data
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters['query']}: {error.read().decode()}") from error

    def stop(self) -> None:
        """End the server."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
            self.process = None
