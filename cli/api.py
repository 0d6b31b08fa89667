"""`cdvae api`: the HTTP front end."""

from __future__ import annotations

import os

import typer
import uvicorn

from app.settings import Settings
from backplane.logs import configure_logging
from backplane.tracing import export_traces
from cli.exposure import ExposedError, check_exposure

# Open connections, such as one that waits for a job, do not hold up a shutdown.
GRACE_SECONDS = 5


def api(host: str, port: int) -> None:
    """Serve until a signal comes; exit with os.EX_CONFIG where the service would lie open."""
    settings = Settings()
    configure_logging(settings.log_level, settings.log_json)
    export_traces("cdvae-app")
    try:
        needs_keys = check_exposure(host, settings.home)
    except ExposedError as error:
        typer.echo(f"cdvae api: {error}", err=True)
        raise typer.Exit(os.EX_CONFIG) from error
    if needs_keys:
        os.environ["CDVAE_REQUIRE_KEYS"] = "1"  # even should the file of keys vanish
    uvicorn.run(
        "app.main:create_app",
        factory=True,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
