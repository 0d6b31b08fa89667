"""The application; `uvicorn --factory app.application:create_app` serves it."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from anyio import to_thread
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from app.api_settings import Settings
from app.auth.key_file import key_file
from app.background import end, keep_doing, recover_orphans
from app.dependencies import Services
from app.http import concurrency, problems
from app.http.middleware import Observer
from app.http.openapi import describe
from app.metrics.collectors import CardCollector, DiskCollector
from app.metrics.request_metrics import HttpMetrics, JobMetrics
from app.model_cards import ModelStore
from app.optimade import optimade_routes
from app.planning.parser_pool import ParserPool
from app.queue.job_queue import JobQueue
from app.routes import health_routes, job_routes, model_routes, page_routes, submission_routes
from app.webhooks.outbound import Sender
from app.webhooks.webhook_sender import Webhooks
from cdvae_schema import __version__
from cdvae_service.jobstore.orphan_recovery import OrphanRecovery
from cdvae_service.models import open_store as open_model_store
from cdvae_service.results.result_store import open_store
from cdvae_service.telemetry.tracing import flush_traces

DESCRIPTION = (
    "Generate crystal structures with a crystal diffusion variational autoencoder. A POST queues "
    "a job and returns immediately; `GET /jobs/{id}` reports its state, `GET /jobs/{id}/result` "
    "returns the crystals. "
    "Errors are problem documents (RFC 9457)."
)
LOOK_SECONDS = 1.0


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return a new application; `settings` come from the environment by default.

    It starts without Redis: `/readyz` reports that, and requests that need Redis get a 503.
    """
    services = _build_services(settings or Settings())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        stop = threading.Event()
        # A daemon thread: a store that does not answer must not delay the shutdown.
        threading.Thread(
            target=services.models.follow,
            args=(stop, services.settings.model_refresh),
            name="model-store",
            daemon=True,
        ).start()
        sender = Sender(services.settings.callback_hosts)
        webhooks = Webhooks(services.queue, services.keys, sender)
        chores = (
            (services.notifier.listen, LOOK_SECONDS),
            (partial(recover_orphans, services.queue, OrphanRecovery()), LOOK_SECONDS),
            (webhooks.deliver, LOOK_SECONDS),
        )
        doing = [asyncio.create_task(keep_doing(chore, every)) for chore, every in chores]
        yield
        stop.set()
        await end(doing)
        await webhooks.close()
        await sender.close()
        await services.queue.close()
        await to_thread.run_sync(flush_traces)

    app = FastAPI(
        title="CDVAE service",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        # Only traces are exported; looking up the other providers would slow every request down.
        telemetry={"metrics": False, "logs": False},
    )
    app.state.services = services
    problems.install(app)
    app.add_middleware(concurrency.ConcurrencyMiddleware, limiter=services.limiter)
    app.add_middleware(Observer, metrics=HttpMetrics(services.counters))
    for module in (submission_routes, job_routes, model_routes, health_routes, page_routes):
        app.include_router(module.router)
    optimade_routes.install(app, services)
    app.mount("/static", page_routes.Assets(directory=page_routes.STATIC), name="static")
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    return app


def _build_services(settings: Settings) -> Services:
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
        notifier=queue.notifier(),
        store=open_store(settings.home, settings.results_url),
        keys=key_file(settings.home),
        limiter=concurrency.ConcurrencyLimiter(settings.max_in_flight, settings.max_waiting),
        counters=counters,
        state=state,
        job_metrics=job_metrics,
        parsers=ParserPool(settings.parser_processes, settings.parse_seconds),
    )
