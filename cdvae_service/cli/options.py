"""Options that the commands for a service share, with shell completion."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def _complete_model(context: typer.Context, incomplete: str) -> list[str]:
    return [name for name in _asked(context, "models") if name.startswith(incomplete)]


def _complete_job(context: typer.Context, incomplete: str) -> list[str]:
    return [name for name in _asked(context, "jobs") if name.startswith(incomplete)]


def _asked(context: typer.Context, what: str) -> list[str]:
    """Return names of models or ids of jobs; empty where no service answers within a second."""
    from cdvae_client import CdvaeClientError, Client, Retries

    options = {name: context.params.get(name) for name in ("server", "key")}
    try:
        with Client(
            options["server"], options["key"], timeout=1.0, retries=Retries(attempts=1)
        ) as client:
            if what == "models":
                return [card.name for card in client.models()]
            return [job.id for job in client.jobs()]
    except CdvaeClientError:
        return []


Server = Annotated[
    str | None,
    typer.Option(envvar="CDVAE_SERVER", help="URL of the service.", show_default="port 8000 here"),
]
Key = Annotated[str | None, typer.Option(envvar="CDVAE_API_KEY", help="API key.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts, not a table.")]
Png = Annotated[Path | None, typer.Option(help="Draw the first crystals to this file.")]
Out = Annotated[Path | None, typer.Option(help="Write one CIF per crystal to this folder.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Print the job's id and do not wait.")]
Once = Annotated[
    str | None,
    typer.Option("--idempotency-key", help="Requests with the same key share one job."),
]
Model = Annotated[
    str | None,
    typer.Option(help="name or name@version.", autocompletion=_complete_model),
]
JobArgument = Annotated[
    str | None, typer.Argument(metavar="[ID]", autocompletion=_complete_job, help="A job.")
]
JobArguments = Annotated[
    list[str], typer.Argument(metavar="ID…", autocompletion=_complete_job, help="Jobs.")
]
