"""`cdvae keys`: create, list and revoke API keys."""

from __future__ import annotations

from pathlib import Path

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from app.auth.key_file import KeyFileError, UnknownKeyError, key_file


def create(home: Path, name: str, per_minute: int, unfinished: int) -> None:
    """Print a new key and its webhook secret, which cannot be shown again."""
    try:
        token, key = key_file(home).create(name, per_minute, unfinished)
    except (KeyFileError, ValueError, OSError) as error:
        raise _failed(error) from error
    typer.echo(f"key             {token}")
    typer.echo(f"webhook secret  {key.webhook_secret}")
    typer.echo("Save both: the service does not store the key and cannot show it again.", err=True)


def show(home: Path) -> None:
    """Print a table of all keys."""
    table = Table(box=box.SIMPLE_HEAD)
    for title in ("id", "name", "created", "revoked", "a minute", "unfinished jobs"):
        table.add_column(title)
    try:
        keys = key_file(home).keys().values()
    except KeyFileError as error:
        raise _failed(error) from error
    for key in keys:
        revoked = f"{key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else "–"
        limits = (str(key.requests_per_minute), str(key.unfinished_jobs))
        table.add_row(key.id, key.name, f"{key.created_at:%Y-%m-%d %H:%M}", revoked, *limits)
    Console().print(table)


def revoke(home: Path, identity: str) -> None:
    """Revoke the key."""
    try:
        key = key_file(home).revoke(identity)
    except (KeyFileError, UnknownKeyError, OSError) as error:
        raise _failed(error) from error
    typer.echo(f"{key.id} ({key.name}) revoked")


def _failed(error: Exception) -> typer.Exit:
    typer.echo(f"cdvae keys: {error}", err=True)
    return typer.Exit(1)
