"""`cdvae api`: the HTTP front end, in one or several processes that share a port."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import typer
import uvicorn

from app.api_settings import Settings
from cdvae_service.cli.stack.core_pinning import keep_to_share, make_places
from cdvae_service.cli.stack.exposure import ExposedError, check_exposure
from cdvae_service.cli.stack.process import die_with_parent
from cdvae_service.telemetry.logs import configure_logging
from cdvae_service.telemetry.tracing import export_traces

if TYPE_CHECKING:
    from fastapi import FastAPI

# A shutdown does not wait longer for open connections, such as event streams.
GRACE_SECONDS = 5
PLACES = "CDVAE_API_PLACES"  # folder in which the processes of a front end divide the cores


def api(host: str, port: int, processes: int) -> None:
    """Serve until a stop signal; exit with os.EX_CONFIG where the service would be unprotected."""
    settings = Settings()
    configure_logging(settings.log_level, settings.log_json)
    try:
        needs_keys = check_exposure(host, settings.home)
    except ExposedError as error:
        typer.echo(f"cdvae api: {error}", err=True)
        raise typer.Exit(os.EX_CONFIG) from error
    if needs_keys:
        os.environ["CDVAE_REQUIRE_KEYS"] = "1"  # also if the key file is deleted
    with tempfile.TemporaryDirectory(prefix="cdvae-api-") as folder:
        metrics, places = Path(folder, "metrics"), Path(folder, "places")
        metrics.mkdir()
        make_places(places, processes)
        # prometheus-client reads this on import, which happens in the serving processes.
        os.environ |= {"PROMETHEUS_MULTIPROC_DIR": str(metrics), PLACES: str(places)}
        uvicorn.run(
            f"{__name__}:create",
            factory=True,
            host=host,
            port=port,
            workers=processes,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )


def create() -> FastAPI:
    """Create the application; in one of several processes, make it end with its parent."""
    from app.application import create_app

    settings = Settings()
    if multiprocessing.parent_process() is not None:
        die_with_parent()
        keep_to_share(Path(os.environ[PLACES]))
        configure_logging(settings.log_level, settings.log_json)
    export_traces("cdvae-app")
    return create_app(settings)
