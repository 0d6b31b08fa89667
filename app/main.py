"""The application; `uvicorn --factory app.main:create_app` serves it."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import to_thread
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from app import errors, gate, health, jobs, optimade_api, pages, tasks
from app import models as model_routes
from app.background import Rescue, end, keep_doing
from app.changes import Changes
from app.deps import Services
from app.gauges import CardCollector, DiskCollector
from app.keys import key_file
from app.metrics import HttpMetrics, JobMetrics
from app.middleware import Observer
from app.openapi import describe
from app.outbound import Sender
from app.parsing import Parsers
from app.queue import JobQueue
from app.settings import Settings
from app.store import ModelStore
from app.webhooks import Webhooks
from backplane.results import open_store
from backplane.tracing import flush_traces
from registry import open_store as open_model_store

VERSION = "0.1.0"
DESCRIPTION = (
    "Crystals from a Crystal Diffusion Variational Autoencoder. A POST queues a job and answers "
    "at once; `GET /jobs/{id}` tells how it is doing, `GET /jobs/{id}/result` has the crystals. "
    "Errors are problem documents (RFC 9457)."
)
LOOK_SECONDS = 1.0


def create_app(settings: Settings | None = None) -> FastAPI:
    """An application of its own parts; settings come from the environment where none are given.

    It starts without Redis: `/readyz` says so, and requests that need it are answered 503.
    """
    parts = _parts(settings or Settings())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        stop = threading.Event()
        # A daemon: a store that does not answer must not hold up the end.
        threading.Thread(
            target=parts.models.follow,
            args=(stop, parts.settings.model_refresh),
            name="model-store",
            daemon=True,
        ).start()
        sender = Sender(parts.settings.callback_hosts)
        webhooks = Webhooks(parts.queue, parts.keys, sender)
        chores = (
            (parts.changes.listen, LOOK_SECONDS),
            (Rescue(parts.queue).run, LOOK_SECONDS),
            (webhooks.deliver, LOOK_SECONDS),
            (parts.gate.look, gate.LOOK_SECONDS),
        )
        doing = [asyncio.create_task(keep_doing(chore, every)) for chore, every in chores]
        yield
        stop.set()
        await end(doing)
        await sender.close()
        await parts.queue.close()
        await to_thread.run_sync(flush_traces)

    app = FastAPI(
        title="CDVAE service",
        version=VERSION,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        # Traces alone are exported; to look for the others' providers costs every request time.
        telemetry={"metrics": False, "logs": False},
    )
    app.state.services = parts
    errors.install(app)
    app.add_middleware(gate.Admission, gate=parts.gate)
    app.add_middleware(Observer, metrics=HttpMetrics(parts.counters))
    for module in (tasks, jobs, model_routes, health, pages):
        app.include_router(module.router)
    optimade_api.install(app, parts)
    app.mount("/static", pages.Assets(directory=pages.STATIC), name="static")
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    return app


def _parts(settings: Settings) -> Services:
    counters, state = CollectorRegistry(), CollectorRegistry()
    job_metrics = JobMetrics(counters)
    models = ModelStore(open_model_store(settings.model_store, settings.home / "models"))
    for collector in (DiskCollector(settings.home), CardCollector(models)):
        state.register(collector)
    queue = JobQueue(
        settings.redis_url,
        timeout=settings.redis_timeout,
        job_timeout=settings.job_timeout,
        result_ttl=settings.result_ttl,
        max_queued=settings.max_queued,
        on_end=job_metrics.ended,
    )
    return Services(
        settings=settings,
        models=models,
        queue=queue,
        changes=Changes(queue.redis),
        store=open_store(settings.home, settings.results_url),
        keys=key_file(settings.home),
        gate=gate.Gate(settings.max_in_flight, settings.max_waiting),
        counters=counters,
        state=state,
        job_metrics=job_metrics,
        parsers=Parsers(settings.parsers, settings.parse_seconds),
    )
