"""`POST /generate`, `/reconstruct` and the others: a checked job onto the queue, `202` back.

Bodies are read here rather than by FastAPI: within limits, strictly typed, beside the event loop.
"""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from app.auth.authentication import LimitedCaller
from app.dependencies import Parts, Services
from app.http.bodies import CIF, JSON, check_media_type, parse_json, read_body
from app.http.prefer_wait import PreferHeader
from app.planning import body_plans
from app.queue.submission import IdempotencyHeader, Wish, announce, submit
from app.webhooks.callback_addresses import check_callback
from cdvae_schema.base import LARGEST_SEED
from cdvae_schema.job_specs import JobSpec, JobStatus
from cdvae_schema.outcomes import JobResult
from cdvae_schema.path_requests import InterpolateRequest, VaryRequest
from cdvae_schema.requests import GenerateRequest, OptimizeRequest, Priority, ReconstructRequest

router = APIRouter(tags=["tasks"])

OPTIONS = ("model", "num_candidates", "seed", "sampler", "nfe", "priority", "relax")
PLAIN_BYTES = 64 * 1024  # of a body without structures: it is read in the event loop


def _reference(model: type[Any]) -> dict[str, Any]:
    return {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}


def _body(required: bool, **content: Any) -> dict[str, Any]:
    names = {"json": JSON, "cif": CIF}
    return {
        "requestBody": {
            "required": required,
            "content": {names[key]: value for key, value in content.items()},
        }
    }


_WAITED: dict[int | str, dict[str, Any]] = {
    200: {"model": JobResult, "description": "With `Prefer: wait`: the job ended in time."}
}


@router.post(
    "/generate",
    status_code=202,
    response_model=JobStatus,
    responses=_WAITED,
    summary="Sample new crystals",
    openapi_extra=_body(False, json=_reference(GenerateRequest)),
)
async def generate(
    request: Request,
    parts: Parts,
    caller: LimitedCaller,
    idempotency_key: IdempotencyHeader = None,
    prefer: PreferHeader = None,
) -> Response:
    """Queues a job that samples crystals from the model's prior."""
    wish = announce(request, parts, caller, idempotency_key)
    limit = min(PLAIN_BYTES, parts.settings.max_body_bytes)
    body = await read_body(request, limit, parts.settings.body_seconds)
    kind = check_media_type(request, body, (JSON,))
    wanted = parse_json(GenerateRequest, body)
    check_callback(wanted.callback_url, caller, parts.settings)
    return await submit(parts, body_plans.generate(parts.models, wanted), wish, kind, body)


@router.post(
    "/reconstruct",
    status_code=202,
    response_model=JobStatus,
    responses=_WAITED,
    summary="Encode and decode given crystals",
    openapi_extra=_body(
        True,
        json=_reference(ReconstructRequest),
        cif={"schema": {"type": "string", "description": "One or more `data_` blocks."}},
    ),
)
async def reconstruct(
    request: Request,
    parts: Parts,
    caller: LimitedCaller,
    model: Annotated[str | None, Query(max_length=128)] = None,
    num_candidates: Annotated[int, Query(ge=1, le=1000)] = 1,
    seed: Annotated[int | None, Query(ge=0, le=LARGEST_SEED)] = None,
    sampler: Annotated[str | None, Query(max_length=64)] = None,
    nfe: Annotated[int | None, Query(ge=1)] = None,
    priority: Priority = "normal",
    relax: bool = False,
    idempotency_key: IdempotencyHeader = None,
    prefer: PreferHeader = None,
) -> Response:
    """Queues a job that encodes every given crystal and decodes candidates for it.

    The query parameters belong to a raw CIF body; a JSON body has these fields itself.
    """
    wish = announce(request, parts, caller, idempotency_key)
    settings = parts.settings
    body = await read_body(request, settings.max_body_bytes, settings.body_seconds)
    kind = check_media_type(request, body, (JSON, CIF))
    given = tuple(name for name in OPTIONS if name in request.query_params)
    options = body_plans.CifOptions(
        model, num_candidates, seed, sampler, nfe, priority, relax, given
    )
    spec = await parts.parsers.run(body_plans.reconstruct, parts.models.folder, body, kind, options)
    return await submit(parts, spec, wish, kind, body)


@router.post(
    "/optimize",
    status_code=202,
    response_model=JobStatus,
    responses=_WAITED,
    summary="Improve properties",
    openapi_extra=_body(False, json=_reference(OptimizeRequest)),
)
async def optimize(
    request: Request,
    parts: Parts,
    caller: LimitedCaller,
    prop: Annotated[
        str | None,
        Query(
            alias="property",
            max_length=64,
            description="One of the card's properties; none where the body has `objectives`.",
        ),
    ] = None,
    idempotency_key: IdempotencyHeader = None,
    prefer: PreferHeader = None,
) -> Response:
    """Queues a job that searches for better crystals from each start, along the prior."""
    wish = announce(request, parts, caller, idempotency_key)
    return await _plan_and_submit(request, parts, wish, body_plans.optimize, prop)


@router.post(
    "/interpolate",
    status_code=202,
    response_model=JobStatus,
    responses=_WAITED,
    summary="Walk from one crystal to another",
    openapi_extra=_body(True, json=_reference(InterpolateRequest)),
)
async def interpolate(
    request: Request,
    parts: Parts,
    caller: LimitedCaller,
    idempotency_key: IdempotencyHeader = None,
    prefer: PreferHeader = None,
) -> Response:
    """Queues a job that decodes points between the latents of two given crystals."""
    wish = announce(request, parts, caller, idempotency_key)
    return await _plan_and_submit(request, parts, wish, body_plans.interpolate)


@router.post(
    "/variations",
    status_code=202,
    response_model=JobStatus,
    responses=_WAITED,
    summary="Make crystals like a given one",
    openapi_extra=_body(True, json=_reference(VaryRequest)),
)
async def vary(
    request: Request,
    parts: Parts,
    caller: LimitedCaller,
    idempotency_key: IdempotencyHeader = None,
    prefer: PreferHeader = None,
) -> Response:
    """Queues a job that decodes latents around that of a given crystal."""
    wish = announce(request, parts, caller, idempotency_key)
    return await _plan_and_submit(request, parts, wish, body_plans.vary)


async def _plan_and_submit(
    request: Request,
    parts: Services,
    wish: Wish,
    plan: Callable[..., JobSpec],
    *options: Any,
) -> Response:
    """The answer to a JSON body with structures in it, which `plan` reads in its own process."""
    settings = parts.settings
    body = await read_body(request, settings.max_body_bytes, settings.body_seconds)
    kind = check_media_type(request, body, (JSON,))
    spec = await parts.parsers.run(plan, parts.models.folder, body, *options)
    return await submit(parts, spec, wish, kind, body)
