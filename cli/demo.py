"""`cdvae demo`: the whole way from nothing to CIF files, over HTTP, in one command."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from rich import box
from rich.console import Console, JustifyMethod
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from cli.redis_server import RedisServerError
from cli.serve import TICK, stop_signals
from cli.stack import Stack, StackError, free_port

START_SECONDS = 300.0
FINAL = ("succeeded", "failed", "cancelled")

Json = dict[str, Any]


class DemoError(RuntimeError):
    """The demonstration did not succeed; the message says why."""


def demo(num_samples: int, seed: int, out: Path, home: Path) -> None:
    """Run the demonstration; exit with status 1 and a sentence if it fails."""
    console = Console()
    folder = home / "demo"
    stack = Stack(folder, "127.0.0.1", free_port(), None, log_folder=folder / "logs")
    with stop_signals() as stopping:
        try:
            stack.start()
            result = _run(console, stack, stopping, {"num_samples": num_samples, "seed": seed})
            card = _request("GET", f"{stack.url}/models/{result['provenance']['model']}")
            units = {name: prop["unit"] for name, prop in card["properties"].items()}
        except (DemoError, StackError, RedisServerError) as error:
            console.print(f"[red]The demonstration failed:[/] {error}")
            console.print(f"The logs are in {folder / 'logs'}")
            raise typer.Exit(1) from error
        finally:
            stack.stop()
    _print(console, result, units)
    console.print(f"{_write(result, out)} CIF files are in {out}/", soft_wrap=True)


def _run(console: Console, stack: Stack, stopping: threading.Event, body: Json) -> Json:
    """The result of POST /generate with `body`."""
    with Progress(
        TextColumn("{task.description:<28}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    ) as progress:
        start = progress.add_task("starting Redis, API, worker", total=None)
        end = time.monotonic() + START_SECONDS
        while not stack.ready():
            _pause(stack, stopping)
            stack.check_start()
            if time.monotonic() > end:
                raise DemoError("the service was not ready in time")
        progress.update(start, total=1, completed=1)

        job = _request("POST", f"{stack.url}/generate", body)
        console.print(
            f"POST {stack.url}/generate {json.dumps(body)} → job {job['id']}", soft_wrap=True
        )
        bar = progress.add_task("queued", total=1.0)
        while job["state"] not in FINAL:
            _pause(stack, stopping)
            job = _request("GET", f"{stack.url}/jobs/{job['id']}")
            stage = job["progress"]["stage"] if job["state"] == "running" else job["state"]
            progress.update(bar, description=stage, completed=job["progress"]["fraction"])
    if job["state"] != "succeeded":
        reason = f": {job['error']['detail']}" if job["error"] else ""
        raise DemoError(f"the job ended as {job['state']}{reason}")
    return _request("GET", f"{stack.url}/jobs/{job['id']}/result")


def _pause(stack: Stack, stopping: threading.Event) -> None:
    if stopping.wait(TICK):
        raise DemoError("it was interrupted")
    stack.watch()


def _request(method: str, url: str, body: Json | None = None) -> Json:
    request = urllib.request.Request(
        url,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Accept": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            parsed: Json = json.load(answer)
            return parsed
    except urllib.error.HTTPError as error:
        raise DemoError(f"{method} {url}: {error.code} {error.read().decode()}") from error
    except (urllib.error.URLError, OSError) as error:
        raise DemoError(f"{method} {url}: {error}") from error


def _print(console: Console, result: Json, units: dict[str, str]) -> None:
    """Print the crystals and the summary; `units` are those of the predicted properties."""
    table = Table(
        title="Generated crystals", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
    )
    for name in ("", "formula", "space group", "density\ng/cm³", "min.\ndist.\nÅ", "valid"):
        justify: JustifyMethod = "left" if name in ("formula", "space group") else "right"
        table.add_column(name, justify=justify, no_wrap=True)
    for name, unit in units.items():
        title = "\n".join(["predicted", *name.split("_"), unit])
        table.add_column(title, justify="right", no_wrap=True)
    for crystal in result["crystals"]:
        group = crystal["spacegroup"]
        table.add_row(
            str(crystal["index"]),
            crystal["reduced_formula"],
            f"{group['symbol']} ({group['number']})" if group else "–",
            _number(crystal["density"]),
            _number(crystal["min_distance"]),
            "yes" if all(crystal["valid"].values()) else "no",
            *(_number(crystal["predicted"][name]) for name in units),
        )
    console.print(table)
    summary = Table(title="Summary", box=box.SIMPLE_HEAD, show_header=False)
    seconds = _flat(result["provenance"]["seconds"], "seconds ")
    for name, value in (*_flat(result["metrics"]), *seconds):
        summary.add_row(name, value)
    console.print(summary)


def _flat(values: Json, prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name} ")
        else:
            yield prefix + name, f"{value:.4g}" if isinstance(value, float) else str(value)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _write(result: Json, out: Path) -> int:
    """Write one CIF a crystal into `out` and return how many."""
    out.mkdir(parents=True, exist_ok=True)
    for crystal in result["crystals"]:
        name = f"{crystal['index']:03d}-{crystal['reduced_formula']}.cif"
        (out / name).write_text(crystal["cif"], encoding="utf-8")
    return len(result["crystals"])
