"""The application; `uvicorn --factory app.main:create_app` serves it."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from anyio import CapacityLimiter
from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import CollectorRegistry

from app import errors, health, jobs, tasks
from app import models as model_routes
from app.deps import Services
from app.gauges import CardCollector, DiskCollector, QueueCollector
from app.metrics import HttpMetrics, JobMetrics
from app.middleware import Observer
from app.openapi import describe
from app.queue import JobQueue
from app.settings import Settings
from app.store import ModelStore
from registry import open_store

STATIC = Path(__file__).parent / "static"
VERSION = "0.1.0"
DESCRIPTION = (
    "Crystals from a Crystal Diffusion Variational Autoencoder. A POST queues a job and answers "
    "at once; `GET /jobs/{id}` tells how it is doing, `GET /jobs/{id}/result` has the crystals. "
    "Errors are problem documents (RFC 9457)."
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """An application of its own parts; settings come from the environment where none are given.

    It starts without Redis: `/readyz` says so, and requests that need it are answered 503.
    """
    chosen = settings or Settings()
    counters, state = CollectorRegistry(), CollectorRegistry()
    job_metrics = JobMetrics(counters)
    models = ModelStore(open_store(chosen.model_store, chosen.home / "models"))
    queue = JobQueue(
        chosen.redis_url,
        timeout=chosen.redis_timeout,
        job_timeout=chosen.job_timeout,
        result_ttl=chosen.result_ttl,
        on_end=job_metrics.ended,
    )
    for collector in (QueueCollector(queue), DiskCollector(chosen.home), CardCollector(models)):
        state.register(collector)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        stop = threading.Event()
        # A daemon: a store that does not answer must not hold up the end.
        threading.Thread(
            target=models.follow,
            args=(stop, chosen.model_refresh),
            name="model-store",
            daemon=True,
        ).start()
        yield
        stop.set()
        queue.close()

    app = FastAPI(
        title="CDVAE service",
        version=VERSION,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.services = Services(
        settings=chosen,
        models=models,
        queue=queue,
        counters=counters,
        state=state,
        job_metrics=job_metrics,
        parsers=CapacityLimiter(chosen.parser_threads),
    )
    errors.install(app)
    app.add_middleware(Observer, metrics=HttpMetrics(counters))
    for module in (tasks, jobs, model_routes, health):
        app.include_router(module.router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_api_route("/docs", _docs, include_in_schema=False)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    return app


async def _docs() -> FileResponse:
    """The OpenAPI page; all of its scripts and styles come from this service."""
    policy = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'"
    headers = {"Content-Security-Policy": policy}
    return FileResponse(STATIC / "docs.html", media_type="text/html", headers=headers)
