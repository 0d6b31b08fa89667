"""`cdvae doctor`: faults of an installation, with remedies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import typer

from cdvae_service.cli.console import Home, Store
from cdvae_service.cli.operations.installation_checks import (
    CheckResult,
    check_device,
    check_home,
    check_models,
    check_packages,
)
from cdvae_service.cli.operations.service_checks import check_redis, check_server
from cdvae_service.cli.options import AsJson, Key, Server
from cdvae_service.cli.remote.remote_calls import PANEL, echo_json

MARKS = {"ok": "[green]✓[/]", "note": "[yellow]–[/]", "fault": "[red]✗[/]"}
DEFAULT_SERVER = "http://127.0.0.1:8000"


def doctor(
    server: Server = None,
    key: Key = None,
    store: Store = None,
    home: Home = Path(".cdvae"),
    as_json: AsJson = False,
) -> None:
    """Check this installation and its service; exit with status 1 for a fault."""
    from rich.console import Console
    from rich.markup import escape

    console = Console()
    results = []
    for result in _check_all(server, key, store, home):
        results.append(result)
        if not as_json:
            remedy = f"\n    → {escape(result.remedy)}" if result.remedy else ""
            line = f"{MARKS[result.level]} {escape(result.subject)}: {escape(result.detail)}"
            console.print(line + remedy, soft_wrap=True, highlight=False)
    if as_json:
        echo_json([asdict(result) for result in results])
    if any(result.level == "fault" for result in results):
        raise typer.Exit(1)


def _check_all(
    server: str | None, key: str | None, store: str | None, home: Path
) -> Iterator[CheckResult]:
    yield from check_packages()
    yield from check_device()
    yield from check_models(store)
    yield from check_home(home)
    yield from check_redis(os.environ.get("CDVAE_REDIS_URL"))
    yield from check_server(server or DEFAULT_SERVER, key, expected=server is not None)


def register(app: typer.Typer) -> None:
    """Add the command to the console program."""
    app.command(rich_help_panel=PANEL)(doctor)
