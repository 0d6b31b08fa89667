"""What endpoints are given: the parts that `create_app` put together."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from prometheus_client import CollectorRegistry

from app.changes import Changes
from app.gate import Gate
from app.keys import KeyFile
from app.metrics import JobMetrics
from app.parsing import Parsers
from app.queue import JobQueue
from app.settings import Settings
from app.store import ModelStore
from backplane.results import ResultStore


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
