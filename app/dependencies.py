"""What endpoints are given: the services that `create_app` put together."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from prometheus_client import CollectorRegistry

from app.api_settings import Settings
from app.auth.key_file import KeyFile
from app.http.concurrency import ConcurrencyLimiter
from app.metrics.request_metrics import JobMetrics
from app.model_cards import ModelStore
from app.planning.parser_pool import ParserPool
from app.queue.job_notifier import JobNotifier
from app.queue.job_queue import JobQueue
from cdvae_service.results.result_store import ResultStore


@dataclass(frozen=True)
class Services:
    """The services of one application."""

    settings: Settings
    models: ModelStore
    queue: JobQueue
    notifier: JobNotifier
    store: ResultStore
    keys: KeyFile
    limiter: ConcurrencyLimiter
    counters: CollectorRegistry
    state: CollectorRegistry
    job_metrics: JobMetrics
    parsers: ParserPool


# Dependencies are asynchronous, though nothing is awaited: FastAPI sends others through a thread,
# which on a busy machine costs a request more time than all the rest.
async def get_services(request: Request) -> Services:
    """The services of the application that the request is for."""
    found = request.app.state.services
    assert isinstance(found, Services)
    return found


ServicesDep = Annotated[Services, Depends(get_services)]


async def _models(services: ServicesDep) -> ModelStore:
    return services.models


ModelsDep = Annotated[ModelStore, Depends(_models)]
