"""`/healthz`, `/readyz`, `/metrics`: for those who run the service."""

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Query
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry
from redis.exceptions import RedisError

from app.dependencies import Services, ServicesDep
from app.http.problems import ApiError
from app.http.responses import json_reply
from app.metrics.collectors import QueueCollector
from app.metrics.request_metrics import exposition
from app.queue.occupancy import live_workers, occupancy
from cdvae_schema.base import StrictModel
from cdvae_schema.wire import WorkerPresence
from cdvae_service.models.store_errors import BrokenModelError

router = APIRouter(tags=["operation"])


class Health(StrictModel):
    """The process answers."""

    status: str


class WorkerCount(StrictModel):
    """Workers that announced themselves within the last seconds."""

    live: int
    with_model: int


class Readiness(StrictModel):
    """The service can take jobs."""

    status: str
    models: list[str]
    workers: WorkerCount


@router.get("/healthz", response_model=Health, summary="Is the process alive?")
async def healthz() -> Response:
    """Returns 200 as long as the process answers at all."""
    return json_reply(Health(status="ok"))


@router.get("/readyz", response_model=Readiness, summary="Can it take jobs?")
async def readyz(
    services: ServicesDep,
    workers: Annotated[
        int, Query(ge=0, description="Ask for this many live workers with a model loaded.")
    ] = 0,
) -> Response:
    """Returns 200 where Redis answers and the model cards load, else 503 with the reason."""
    problems: list[str] = []
    models: list[str] = []
    live: list[WorkerPresence] = []
    try:
        models = [card.reference for card in services.models.cards()]
        if not models:
            problems.append("the model store is empty")
    except BrokenModelError as error:
        problems.append(str(error))
    try:
        await services.queue.ping()
        live = await live_workers(services.queue.redis)
    except RedisError:
        problems.append("Redis does not answer")
    count = WorkerCount(live=len(live), with_model=sum(bool(one.models) for one in live))
    if not problems and count.with_model < workers:
        problems.append(f"{count.with_model} of {workers} workers are live with a model loaded")
    if problems:
        members = {"models": models, "workers": count.model_dump()}
        detail = f"Not ready: {'; '.join(problems)}."
        raise ApiError(503, detail, headers={"Retry-After": "1"}, members=members)
    return json_reply(Readiness(status="ready", models=models, workers=count))


@router.get("/metrics", response_class=Response, summary="Prometheus metrics")
async def metrics(services: ServicesDep) -> Response:
    """Returns the metrics of this front end and of the queue in Prometheus' text format."""
    try:
        now = await occupancy(services.queue.redis)
    except RedisError:
        now = None
    queue = CollectorRegistry()
    queue.register(QueueCollector(now))
    # The counters of several processes and the cards are files.
    content = await to_thread.run_sync(_exposition, services, queue)
    return Response(content, media_type=CONTENT_TYPE_LATEST)


def _exposition(services: Services, queue: CollectorRegistry) -> bytes:
    services.job_metrics.know(services.models.references())
    return exposition(services.counters, services.state, queue)
