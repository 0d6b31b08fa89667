"""The console command `cdvae`. Commands import what they need, so that `--help` is instant."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Annotated

import typer

from cdvae_service.cli.operations import doctor, model_commands
from cdvae_service.cli.remote import job_commands, task_commands

# torch reads this on import: idle threads spin only briefly.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

app = typer.Typer(
    name="cdvae",
    help="Crystal Diffusion Variational Autoencoder: generate, reconstruct, optimize crystals.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Host = Annotated[str, typer.Option(envvar="CDVAE_HOST", help="Address to listen on.")]
Port = Annotated[int, typer.Option(envvar="CDVAE_PORT", min=1, max=65535, help="Port.")]
Home = Annotated[Path, typer.Option(envvar="CDVAE_HOME", help="Folder of all state.")]


@app.command()
def serve(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    home: Home = Path(".cdvae"),
    redis_url: Annotated[
        str | None,
        typer.Option(envvar="CDVAE_REDIS_URL", help="Redis to use instead of an embedded one."),
    ] = None,
) -> None:
    """Run Redis, the API and one worker on this machine until Ctrl-C."""
    from cdvae_service.cli.stack.serve_command import serve as run

    run(home, host, port, redis_url or None)


@app.command()
def api(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    processes: Annotated[
        int, typer.Option(envvar="CDVAE_API_PROCESSES", min=1, help="Processes of the API.")
    ] = 1,
) -> None:
    """Run the HTTP front end."""
    from cdvae_service.cli.stack.api_command import api as run

    run(host, port, processes)


@app.command()
def worker() -> None:
    """Run one worker; environment variables CDVAE_… are its settings."""
    from worker.supervisor.worker_process import main

    raise typer.Exit(main())


@app.command()
def demo(
    num_samples: Annotated[int, typer.Option("-n", min=1, help="How many crystals.")] = 8,
    out: Annotated[Path, typer.Option(help="Folder for the CIF files.")] = Path("out"),
    home: Home = Path(".cdvae"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the crystals.")] = 7,
) -> None:
    """Start a service, generate crystals over HTTP, print them, stop the service."""
    from cdvae_service.cli.stack.demo_command import demo as run

    run(num_samples, seed, out, home)


keys = typer.Typer(no_args_is_help=True, help="API keys of the service.")
app.add_typer(keys, name="keys")


@keys.command()
def create(
    name: Annotated[str, typer.Argument(help="Name of the holder, for the list.")],
    home: Home = Path(".cdvae"),
    per_minute: Annotated[int, typer.Option(min=1, help="Requests per minute.")] = 600,
    unfinished: Annotated[int, typer.Option(min=1, help="Most jobs that wait or run.")] = 1000,
) -> None:
    """Create a key and print it once; the service stores only a hash."""
    from cdvae_service.cli.operations.key_commands import create as run

    run(home, name, per_minute, unfinished)


@keys.command("list")
def list_keys(home: Home = Path(".cdvae")) -> None:
    """List the ids, names and limits of all keys."""
    from cdvae_service.cli.operations.key_commands import show as run

    run(home)


@keys.command()
def revoke(
    identity: Annotated[str, typer.Argument(metavar="ID", help="As `cdvae keys list` shows it.")],
    home: Home = Path(".cdvae"),
) -> None:
    """Revoke a key, immediately and permanently."""
    from cdvae_service.cli.operations.key_commands import revoke as run

    run(home, identity)


if importlib.util.find_spec("cdvae_service.cli.science.science_commands") is not None:
    importlib.import_module("cdvae_service.cli.science.science_commands").register(app)
for module in (model_commands, task_commands, job_commands, doctor):
    module.register(app)


if __name__ == "__main__":
    app()
