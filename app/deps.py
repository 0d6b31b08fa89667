"""What endpoints are given: the parts that `create_app` put together."""

from dataclasses import dataclass
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Request
from prometheus_client import CollectorRegistry

from app.metrics import JobMetrics
from app.queue import JobQueue
from app.settings import Settings
from app.store import ModelStore


@dataclass(frozen=True)
class Services:
    """The parts of one application."""

    settings: Settings
    models: ModelStore
    queue: JobQueue
    counters: CollectorRegistry
    state: CollectorRegistry
    job_metrics: JobMetrics
    parsers: CapacityLimiter


def services(request: Request) -> Services:
    """The parts of the application that the request is for."""
    found = request.app.state.services
    assert isinstance(found, Services)
    return found


def _models(request: Request) -> ModelStore:
    return services(request).models


def _queue(request: Request) -> JobQueue:
    return services(request).queue


def _settings(request: Request) -> Settings:
    return services(request).settings


Parts = Annotated[Services, Depends(services)]
Models = Annotated[ModelStore, Depends(_models)]
Queue = Annotated[JobQueue, Depends(_queue)]
AppSettings = Annotated[Settings, Depends(_settings)]
