"""`cdvae jobs` and `cdvae cancel`."""

from __future__ import annotations

from typing import Annotated

import typer

from cdvae_schema.job_specs import JobKind, JobState
from cdvae_service.cli.options import AsJson, JobArgument, JobArguments, Key, Out, Png, Server
from cdvae_service.cli.remote.remote_calls import (
    EXIT_CODES,
    PANEL,
    Output,
    connected,
    echo_json,
    follow,
)


def jobs(
    identity: JobArgument = None,
    state: Annotated[JobState | None, typer.Option(help="Only these.")] = None,
    kind: Annotated[JobKind | None, typer.Option(help="Only these.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most jobs to list.")] = 20,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
    png: Png = None,
    out: Out = None,
) -> None:
    """List the jobs, newest first; with an ID, wait for the job and show its crystals."""
    with connected(server, key) as client:
        if identity is not None:
            follow(client, client.job(identity), Output(as_json, png, out))
            return
        found = [job.status for job in client.jobs(state=state, kind=kind, limit=limit)]
    if as_json:
        echo_json([status.model_dump(mode="json") for status in found])
        return
    from cdvae_service.cli.remote.show import jobs_table, wide_console

    wide_console().print(jobs_table(found))


def cancel(
    identities: JobArguments, server: Server = None, key: Key = None, as_json: AsJson = False
) -> None:
    """Cancel jobs; the service keeps their finished crystals."""
    with connected(server, key) as client:
        for identity in identities:
            status = client.job(identity).cancel()
            if as_json:
                echo_json(status.model_dump(mode="json"))
            else:
                stopping = status.state == "running"
                typer.echo(f"{status.id}: {'stopping' if stopping else status.state}")


def register(app: typer.Typer) -> None:
    """Add the commands to the console program."""
    for command in (jobs, cancel):
        app.command(epilog=EXIT_CODES, rich_help_panel=PANEL)(command)
