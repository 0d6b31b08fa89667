"""`cdvae doctor`: what is wrong with an installation, and what to do about it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import typer

from cdvae_service.cli.console import Home, Store
from cdvae_service.cli.operations.installation_checks import (
    Finding,
    check_device,
    check_home,
    check_models,
    check_packages,
    check_python,
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
    """Look for what is wrong with this installation; exit code 1 where something is."""
    from rich.console import Console
    from rich.markup import escape

    console = Console()
    findings = []
    for finding in _findings(server, key, store, home):
        findings.append(finding)
        if not as_json:
            remedy = f"\n    → {escape(finding.remedy)}" if finding.remedy else ""
            line = f"{MARKS[finding.level]} {escape(finding.subject)}: {escape(finding.detail)}"
            console.print(line + remedy, soft_wrap=True, highlight=False)
    if as_json:
        echo_json([asdict(finding) for finding in findings])
    if any(finding.level == "fault" for finding in findings):
        raise typer.Exit(1)


def _findings(
    server: str | None, key: str | None, store: str | None, home: Path
) -> Iterator[Finding]:
    yield from check_python()
    yield from check_packages()
    yield from check_device()
    yield from check_models(store)
    yield from check_home(home)
    yield from check_redis(os.environ.get("CDVAE_REDIS_URL"))
    yield from check_server(server or DEFAULT_SERVER, key, expected=server is not None)


def register(app: typer.Typer) -> None:
    """Adds the command to the console program."""
    app.command(rich_help_panel=PANEL)(doctor)
