"""`/healthz`, `/readyz` and `/metrics` for operators."""

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Query
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry
from pydantic import Field
from redis.exceptions import RedisError

from app.dependencies import Services, ServicesDep
from app.http.problems import ApiError
from app.http.responses import json_reply
from app.metrics.collectors import QueueCollector
from app.metrics.request_metrics import exposition
from cdvae_schema.base import StrictModel
from cdvae_schema.wire import WorkerPresence
from cdvae_service.models.store_errors import BrokenModelError

router = APIRouter(tags=["operation"])


class Health(StrictModel):
    """The process is alive."""

    status: str


class WorkerCount(StrictModel):
    """Workers with a recent heartbeat."""

    live: int
    with_model: int
    without_metrics: int = Field(description="Their metrics port was taken; see their logs.")


class Readiness(StrictModel):
    """The service accepts jobs."""

    status: str
    models: list[str]
    workers: WorkerCount


@router.get("/healthz", response_model=Health, summary="Is the process alive?")
async def healthz() -> Response:
    """Return 200 as long as the process is alive."""
    return json_reply(Health(status="ok"))


@router.get("/readyz", response_model=Readiness, summary="Can it take jobs?")
async def readyz(
    services: ServicesDep,
    workers: Annotated[
        int, Query(ge=0, description="Ask for this many live workers with a model loaded.")
    ] = 0,
) -> Response:
    """Return 200 if Redis answers and the model cards load, else 503 with the reason."""
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
        live = await services.queue.live_workers()
    except RedisError:
        problems.append("Redis does not answer")
    count = WorkerCount(
        live=len(live),
        with_model=sum(bool(one.models) for one in live),
        without_metrics=sum(bool(one.metrics_error) for one in live),
    )
    if not problems and count.with_model < workers:
        problems.append(f"{count.with_model} of {workers} workers are live with a model loaded")
    if problems:
        members = {"models": models, "workers": count.model_dump()}
        detail = f"Not ready: {'; '.join(problems)}."
        raise ApiError(503, detail, headers={"Retry-After": "1"}, members=members)
    return json_reply(Readiness(status="ready", models=models, workers=count))


@router.get("/metrics", response_class=Response, summary="Prometheus metrics")
async def metrics(services: ServicesDep) -> Response:
    """Return the metrics of this front end and of the queue in Prometheus' text format."""
    try:
        now = await services.queue.occupancy()
    except RedisError:
        now = None
    queue = CollectorRegistry()
    queue.register(QueueCollector(now))
    # In a thread: the counters of several processes and the cards are files.
    content = await to_thread.run_sync(_exposition, services, queue)
    return Response(content, media_type=CONTENT_TYPE_LATEST)


def _exposition(services: Services, queue: CollectorRegistry) -> bytes:
    services.job_metrics.know(services.models.references())
    return exposition(services.counters, services.state, queue)
