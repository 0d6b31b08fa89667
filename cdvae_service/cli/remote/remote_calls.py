"""Helpers of the commands for a service: follow a job, turn errors into exit codes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from cdvae_client import Client, Job, RefusedError
    from cdvae_client.crystals import AnyCrystal

PANEL = "Commands for a running service"
JOB_FAILED = 1
INTERRUPTED = 130

EXIT_CODES = f"""Exit codes: 0 done; {JOB_FAILED} the job failed or was cancelled; 2 wrong options;
{os.EX_DATAERR} the request was refused; {os.EX_NOINPUT} a file cannot be read;
{os.EX_UNAVAILABLE} no response; {os.EX_TEMPFAIL} busy; {os.EX_NOPERM} the key was refused;
{INTERRUPTED} interrupted (the job continues)."""


@dataclass(frozen=True)
class Output:
    """Output of the crystals: table or JSON on stdout, picture, folder of CIF files."""

    as_json: bool
    png: Path | None
    out: Path | None


@contextmanager
def connected(server: str | None, key: str | None) -> Iterator[Client]:
    """Yield a client; its errors become a message on stderr and an exit code (`EXIT_CODES`)."""
    import cdvae_client as library

    try:
        with library.Client(server, key, retries=library.Retries(attempts=4)) as client:
            yield client
    except library.UnreachableError as error:
        hint = "is the service running? `cdvae doctor` checks"
        raise _failed(f"{error} ({hint})", os.EX_UNAVAILABLE) from error
    except library.RefusedError as error:
        raise _failed(_reasons(error), _code(error)) from error
    except library.JobEndedError as error:
        raise _failed(str(error), JOB_FAILED) from error
    except FileNotFoundError as error:
        raise _failed(f"{error.strerror}: {error.filename}", os.EX_NOINPUT) from error
    except ValueError as error:
        raise _failed(_problem(error), os.EX_DATAERR) from error


def follow(client: Client, job: Job, output: Output, no_wait: bool = False) -> None:
    """Wait for the job with a progress bar on stderr and show its result."""
    from cdvae_client import JobCancelledError

    if no_wait:
        typer.echo(job.status.model_dump_json() if output.as_json else job.id)
        return
    try:
        _finish(job)
    except KeyboardInterrupt:
        text = f"the job continues: `cdvae jobs {job.id}` waits, `cdvae cancel {job.id}` ends it"
        raise _failed(text, INTERRUPTED) from None
    except JobCancelledError:
        _show(client, job, output)  # its finished crystals
        raise
    _show(client, job, output)


def _finish(job: Job) -> None:
    from rich.console import Console

    from cdvae_service.cli.remote.show import bars, job_bar

    console = Console(stderr=True)
    console.quiet = not console.is_terminal
    with bars(console) as progress:
        job.finish(progress=job_bar(progress))


def _show(client: Client, job: Job, output: Output) -> None:
    from cdvae_client import Result
    from cdvae_service.cli.remote.show import (
        crystals_table,
        summary_table,
        wide_console,
        write_cifs,
    )

    content = job.read("json")
    result = Result.of(content)
    if output.as_json:
        typer.echo(content.decode())
    else:
        card = client.model(job.status.request.model)
        console = wide_console()
        units = {name: prop.unit for name, prop in card.properties.items()}
        console.print(crystals_table(result, f"{job.status.kind} {card.reference}", units))
        console.print(summary_table(result))
    if output.out is not None:
        write_cifs(result, output.out)
        typer.echo(f"{len(result)} CIF files are in {output.out}/", err=True)
    if output.png is not None and len(result):
        _draw(result.crystals, output.png)


def _draw(crystals: Sequence[AnyCrystal], path: Path) -> None:
    from cdvae_service.cli.remote.picture import MOST, draw

    try:
        drawn = draw([crystal.atoms() for crystal in crystals[:MOST]], path)
    except ImportError as error:
        text = f"{error.name} is not installed: pip install 'cdvae-service[pictures]'"
        raise _failed(text, os.EX_CONFIG) from error
    typer.echo(f"{drawn} crystals are drawn in {path}", err=True)


def _code(error: RefusedError) -> int:
    if error.status in (401, 403):
        return os.EX_NOPERM
    if error.status in (429, 502, 503, 504):
        return os.EX_TEMPFAIL
    return os.EX_DATAERR if error.status < 500 else os.EX_SOFTWARE


def _reasons(error: RefusedError) -> str:
    """Return the detail, and each further fault on its own line."""
    return "\n  ".join([error.detail, *(fault.detail for fault in error.faults[1:])])


def _problem(error: ValueError) -> str:
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return str(error)
    faults: list[Any] = error.errors(include_url=False)
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in faults)


def _failed(text: str, code: int) -> typer.Exit:
    typer.echo(f"cdvae: {text}", err=True)
    return typer.Exit(code)


def echo_json(value: Any) -> None:
    """Print a value as one line of JSON."""
    typer.echo(json.dumps(value, ensure_ascii=False))
