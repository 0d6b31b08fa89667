"""`cdvae api`: the HTTP front end, in one process or several that share port and counters."""

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

# Open connections, such as one that waits for a job, do not hold up a shutdown.
GRACE_SECONDS = 5
PLACES = "CDVAE_API_PLACES"  # where the processes of one front end share out the cores


def api(host: str, port: int, processes: int) -> None:
    """Serve until a signal comes; exit with os.EX_CONFIG where the service would lie open."""
    settings = Settings()
    configure_logging(settings.log_level, settings.log_json)
    try:
        needs_keys = check_exposure(host, settings.home)
    except ExposedError as error:
        typer.echo(f"cdvae api: {error}", err=True)
        raise typer.Exit(os.EX_CONFIG) from error
    if needs_keys:
        os.environ["CDVAE_REQUIRE_KEYS"] = "1"  # even should the file of keys vanish
    with tempfile.TemporaryDirectory(prefix="cdvae-api-") as folder:
        metrics, places = Path(folder, "metrics"), Path(folder, "places")
        metrics.mkdir()
        make_places(places, processes)
        # prometheus-client looks at this when it is imported, which is in the serving processes.
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
    """The application; a process of several ends with the one that started it."""
    from app.application import create_app

    settings = Settings()
    if multiprocessing.parent_process() is not None:
        die_with_parent()
        keep_to_share(Path(os.environ[PLACES]))
        configure_logging(settings.log_level, settings.log_json)
    export_traces("cdvae-app")
    return create_app(settings)
