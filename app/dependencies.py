"""What endpoints are given: the parts that `create_app` put together."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from prometheus_client import CollectorRegistry

from app.api_settings import Settings
from app.auth.key_file import KeyFile
from app.http.concurrency import Gate
from app.metrics.request_metrics import JobMetrics
from app.model_cards import ModelStore
from app.planning.parser_pool import Parsers
from app.queue.job_notifier import Changes
from app.queue.job_queue import JobQueue
from cdvae_service.results.result_store import ResultStore


@dataclass(frozen=True)
class Services:
    """The parts of one application."""

    settings: Settings
    models: ModelStore
    queue: JobQueue
    changes: Changes
    store: ResultStore
    keys: KeyFile
    gate: Gate
    counters: CollectorRegistry
    state: CollectorRegistry
    job_metrics: JobMetrics
    parsers: Parsers


# Dependencies are asynchronous, though nothing is awaited: FastAPI sends others through a thread,
# which on a busy machine costs a request more time than all the rest.
async def services(request: Request) -> Services:
    """The parts of the application that the request is for."""
    found = request.app.state.services
    assert isinstance(found, Services)
    return found


Parts = Annotated[Services, Depends(services)]


async def _models(parts: Parts) -> ModelStore:
    return parts.models


Models = Annotated[ModelStore, Depends(_models)]
