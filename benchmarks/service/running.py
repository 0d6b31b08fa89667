"""A running service for the benchmarks that need one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cdvae_client import Client
from cdvae_service.cli.stack.stack import Stack, free_port


@contextmanager
def service(folder: Path, variables: Mapping[str, str]) -> Iterator[tuple[Stack, Client]]:
    """Start a service in `folder`, yield it when it is ready, and stop it; logs: `folder/logs`."""
    os.environ.update(variables)
    stack = Stack(folder, "127.0.0.1", free_port(), None, log_folder=folder / "logs")
    stack.start()
    try:
        while not stack.ready():
            stack.watch()
            stack.check_start()
            time.sleep(0.2)
        with Client(stack.url) as client:
            yield stack, client
    finally:
        stack.stop()
