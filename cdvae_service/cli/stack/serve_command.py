"""`cdvae serve`: the whole service on one machine until it is told to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from cdvae_service.cli.stack.redis_server import RedisServerError
from cdvae_service.cli.stack.stack import Stack, StackError

TICK = 0.2  # s between two looks at the children


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C, SIGTERM or a closed terminal sets, for the length of the block."""
    stopping = threading.Event()
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: stopping.set()) for number in signals}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def serve(home: Path, host: str, port: int, redis_url: str | None) -> None:
    """Run the service until a stop signal; exit with status 1 and a sentence if it cannot run."""
    stack = Stack(home, host, port, redis_url)
    with stop_signals() as stopping:
        try:
            stack.start()
            typer.echo(f"starting on {stack.url}")
            _run(stack, stopping)
        except (StackError, RedisServerError) as error:
            typer.echo(f"cdvae serve: {error}", err=True)
            raise typer.Exit(1) from error
        finally:
            stack.stop()
    typer.echo("stopped")


def _run(stack: Stack, stopping: threading.Event) -> None:
    ready = False
    while not stopping.wait(TICK):
        stack.watch()
        if not ready:
            stack.check_start()
            ready = stack.ready()
            if ready:
                typer.echo(f"ready: web page {stack.url}/, API reference {stack.url}/docs")
