"""`cdvae api`: the HTTP front end, in one process or several that share port and counters."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from typing import TYPE_CHECKING

import uvicorn

from cli.process import die_with_parent

if TYPE_CHECKING:
    from fastapi import FastAPI


def api(host: str, port: int, processes: int) -> None:
    """Serve until a stop signal."""
    with tempfile.TemporaryDirectory(prefix="cdvae-api-metrics-") as folder:
        # prometheus-client looks at this when it is imported, which is in the serving processes.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        # Open connections, such as one that waits for a job, do not hold up a shutdown.
        uvicorn.run(
            f"{__name__}:create",
            factory=True,
            host=host,
            port=port,
            workers=processes,
            timeout_graceful_shutdown=5,
        )


def create() -> FastAPI:
    """The application; a process of several ends with the one that started it."""
    from app.main import create_app

    if multiprocessing.parent_process() is not None:
        die_with_parent()
    return create_app()
