"""The service on one machine: Redis, one API and one worker as supervised processes."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cdvae_service.cli.stack.exposure import ExposedError, check_exposure
from cdvae_service.cli.stack.process import die_with_parent, stop
from cdvae_service.cli.stack.redis_server import RedisServer
from cdvae_service.models.discovery import find_store
from cdvae_service.models.store_errors import NoStoreError

log = logging.getLogger(__name__)

MAX_BACKOFF = 10.0  # s between two starts of a child that keeps ending
STABLE_AFTER = 30.0  # s of run time after which earlier deaths of a child no longer count
MAX_EARLY_DEATHS = 4  # deaths before the service is ready; then the start has failed


class StackError(RuntimeError):
    """The service cannot start or keep running; the message has the reason."""


@dataclass
class Child:
    """One supervised process, with its command and the state of its restarts."""

    name: str
    command: list[str]
    environment: dict[str, str]
    log: IO[bytes] | None
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    not_before: float = 0.0
    deaths: int = 0
    status: int | None = None

    def start(self) -> None:
        """Start the process in its own group, so that Ctrl-C reaches only the supervisor."""
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            self.command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            process_group=0,
            preexec_fn=die_with_parent,
        )

    def watch(self) -> None:
        """Restart the process if it has ended, with longer pauses if it keeps ending."""
        now = time.monotonic()
        if self.process is not None and self.process.poll() is not None:
            self.status = self.process.returncode
            self.deaths = 1 if now - self.started > STABLE_AFTER else self.deaths + 1
            delay = min(0.25 * 2**self.deaths, MAX_BACKOFF)
            log.warning(
                "%s ended with status %s; starting it again in %.1f s",
                self.name,
                self.status,
                delay,
            )
            self.process, self.not_before = None, now + delay
        if self.process is None and now >= self.not_before:
            self.start()


class Stack:
    """Redis (embedded unless `redis_url` is given), one API and one worker as child processes.

    home: folder of all state; host, port: listening address of the API; log_folder: folder for the
    output of the children, None for the output of this process.
    """

    def __init__(
        self,
        home: Path,
        host: str,
        port: int,
        redis_url: str | None,
        log_folder: Path | None = None,
    ) -> None:
        self.home, self.host, self.port = home.resolve(), host, port
        self.redis = None if redis_url else RedisServer(self.home / "redis")
        self._redis_url = redis_url
        self._log_folder = log_folder
        self._children: list[Child] = []
        self._open = contextlib.ExitStack()

    @property
    def url(self) -> str:
        """URL of the API."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def start(self) -> None:
        """Start all processes; `ready` reports when they are usable. Raises StackError."""
        try:
            check_exposure(self.host, self.home)
            store = os.environ.get("CDVAE_MODEL_STORE") or str(find_store())
        except (ExposedError, NoStoreError) as error:
            raise StackError(str(error)) from error
        _check_port(self.host, self.port)
        self.home.mkdir(parents=True, exist_ok=True)
        self._open.enter_context(_locked(self.home))
        if self.redis is not None:
            self.redis.start()
        environment = os.environ | {
            "CDVAE_HOME": str(self.home),
            "CDVAE_MODEL_STORE": store,
            "CDVAE_REDIS_URL": self.redis.url if self.redis is not None else self._redis_url or "",
        }
        cdvae = [
            sys.executable,
            "-P",
            "-m",
            "cdvae_service.cli.entry",
        ]  # -P: cwd stays off the path
        api = [*cdvae, "api", "--host", self.host, "--port", str(self.port)]
        for name, command in (("api", api), ("worker", [*cdvae, "worker"])):
            self._children.append(Child(name, command, environment, self._log(name)))
        for child in self._children:
            child.start()

    def _log(self, name: str) -> IO[bytes] | None:
        if self._log_folder is None:
            return None
        self._log_folder.mkdir(parents=True, exist_ok=True)
        return self._open.enter_context((self._log_folder / f"{name}.log").open("wb"))

    def watch(self) -> None:
        """Restart processes that have ended; call it several times per second."""
        if self.redis is not None and not self.redis.alive():
            log.warning("redis ended; starting it again")
            self.redis.start()
        for child in self._children:
            child.watch()

    def check_start(self) -> None:
        """Raise StackError if a child cannot start; for use until the stack is ready."""
        for child in self._children:
            if child.deaths >= MAX_EARLY_DEATHS or child.status == os.EX_CONFIG:
                raise StackError(f"the {child.name} process cannot start; see its log")

    def ready(self) -> bool:
        """Return whether the API answers and at least one worker has loaded its model."""
        try:
            with urllib.request.urlopen(f"{self.url}/readyz?workers=1", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def stop(self) -> None:
        """Stop the API and the worker, then Redis."""
        running = [child.process for child in self._children if child.process is not None]
        for process in running:
            if process.poll() is None:
                process.terminate()
        for process in running:
            stop(process, grace=30.0)
        self._children.clear()
        if self.redis is not None:
            self.redis.stop()
        self._open.close()


def _check_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise StackError(
                f"cannot listen on {host}:{port} ({error.strerror}); "
                "choose another port with CDVAE_PORT or --port"
            ) from error


@contextlib.contextmanager
def _locked(home: Path) -> Iterator[None]:
    """Lock `home`, because two Redis servers would write to one append-only file."""
    with (home / "serve.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(
                f"another service uses {home}; set CDVAE_HOME to another folder"
            ) from None
        yield


def free_port(host: str = "127.0.0.1") -> int:
    """Return a TCP port that is free now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
