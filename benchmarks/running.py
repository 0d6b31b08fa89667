"""A service for the benchmarks that need one, and what they ask of it."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cdvae_service.cli.stack.stack import Stack, free_port

FINAL = ("succeeded", "failed", "cancelled")


class Client:
    """Jobs over HTTP."""

    def __init__(self, url: str) -> None:
        self.url = url

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON of the answer; urllib's HTTPError for an error."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def done(self, path: str, body: Any, poll: float = 0.05) -> dict[str, Any]:
        """The final status of a new job."""
        status: dict[str, Any] = self.call("POST", path, body)
        while status["state"] not in FINAL:
            time.sleep(poll)
            status = self.call("GET", f"/jobs/{status['id']}")
        return status


@contextmanager
def service(folder: Path, variables: Mapping[str, str]) -> Iterator[tuple[Stack, Client]]:
    """A service of its own in `folder`, ready, whose logs are in `folder/logs`."""
    os.environ.update(variables)
    stack = Stack(folder, "127.0.0.1", free_port(), None, log_folder=folder / "logs")
    stack.start()
    try:
        while not stack.ready():
            stack.watch()
            stack.check_start()
            time.sleep(0.2)
        yield stack, Client(stack.url)
    finally:
        stack.stop()
