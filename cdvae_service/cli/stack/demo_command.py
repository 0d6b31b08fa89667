"""`cdvae demo`: start a service, generate crystals over HTTP, write CIF files."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import typer
from rich.console import Console

from cdvae_client import CdvaeClientError, Client, Result
from cdvae_schema.cards import ModelCard
from cdvae_schema.job_specs import JobStatus
from cdvae_service.cli.remote.show import bars, crystals_table, job_bar, summary_table, write_cifs
from cdvae_service.cli.stack.redis_server import RedisServerError
from cdvae_service.cli.stack.serve_command import TICK, stop_signals
from cdvae_service.cli.stack.stack import Stack, StackError, free_port

START_SECONDS = 300.0


class DemoError(RuntimeError):
    """The demo failed; the message has the reason."""


def demo(num_samples: int, seed: int, out: Path, home: Path) -> None:
    """Run the demo; exit with status 1 and a message if it fails."""
    console = Console()
    folder = home / "demo"
    stack = Stack(folder, "127.0.0.1", free_port(), None, log_folder=folder / "logs")
    with stop_signals() as stopping:
        try:
            stack.start()
            result, card = _run(console, stack, stopping, num_samples, seed)
        except (DemoError, CdvaeClientError, StackError, RedisServerError) as error:
            console.print(f"[red]The demo failed:[/] {error}")
            console.print(f"The logs are in {folder / 'logs'}")
            raise typer.Exit(1) from error
        finally:
            stack.stop()
    units = {name: prop.unit for name, prop in card.properties.items()}
    console.print(crystals_table(result, "Generated crystals", units))
    console.print(summary_table(result))
    write_cifs(result, out)
    console.print(f"{len(result)} CIF files are in {out}/", soft_wrap=True)


def _run(
    console: Console, stack: Stack, stopping: threading.Event, num_samples: int, seed: int
) -> tuple[Result, ModelCard]:
    """Return the result of POST /generate and the card of its model."""
    with bars(console) as progress, Client(stack.url) as client:
        start = progress.add_task("starting Redis, API, worker", total=None)
        end = time.monotonic() + START_SECONDS
        while not stack.ready():
            _pause(stack, stopping)
            stack.check_start()
            if time.monotonic() > end:
                raise DemoError("the service did not become ready in time")
        progress.update(start, total=1, completed=1)

        job = client.generate(num_samples=num_samples, seed=seed)
        body = json.dumps({"num_samples": num_samples, "seed": seed})
        console.print(f"POST {stack.url}/generate {body} → job {job.id}", soft_wrap=True)
        show = job_bar(progress)

        def told(status: JobStatus) -> None:
            _look(stack, stopping)
            show(status)

        result = job.wait(progress=told)
        return result, client.model(result.job.request.model)


def _look(stack: Stack, stopping: threading.Event) -> None:
    if stopping.is_set():
        raise DemoError("interrupted")
    stack.watch()


def _pause(stack: Stack, stopping: threading.Event) -> None:
    stopping.wait(TICK)
    _look(stack, stopping)
