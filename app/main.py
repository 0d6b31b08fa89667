"""The application; `uvicorn --factory app.main:create_app` serves it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from anyio import CapacityLimiter
from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import CollectorRegistry, ProcessCollector

from app import errors, health, jobs, models, tasks
from app.deps import Services
from app.metrics import HttpMetrics, JobMetrics, QueueCollector
from app.middleware import Observer
from app.openapi import describe
from app.queue import JobQueue
from app.settings import Settings
from app.store import ModelStore

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
    registry = CollectorRegistry()
    queue = JobQueue(
        chosen.redis_url,
        timeout=chosen.redis_timeout,
        job_timeout=chosen.job_timeout,
        result_ttl=chosen.result_ttl,
    )
    registry.register(QueueCollector(queue))
    ProcessCollector(registry=registry)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
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
        models=ModelStore(chosen.model_store),
        queue=queue,
        registry=registry,
        job_metrics=JobMetrics(registry),
        parsers=CapacityLimiter(chosen.parser_threads),
    )
    errors.install(app)
    app.add_middleware(Observer, metrics=HttpMetrics(registry))
    for module in (tasks, jobs, models, health):
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
