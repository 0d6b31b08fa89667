"""`POST /generate`, `/reconstruct` and the others: a checked job onto the queue, `202` back.

Bodies are read here rather than by FastAPI: within limits, strictly typed, beside the event loop.
"""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from app.auth.authentication import LimitedCaller
from app.dependencies import Services, ServicesDep
from app.http.bodies import CIF, JSON, check_media_type, parse_json, read_body
from app.http.prefer_wait import PreferHeader
from app.planning.plan_generate import plan_generate
from app.planning.plan_interpolate import plan_interpolate
from app.planning.plan_optimize import plan_optimize
from app.planning.plan_reconstruct import CifOptions, plan_reconstruct
from app.planning.plan_variations import plan_variations
from app.queue.submission import IdempotencyHeader, SubmitOptions, read_submit_options, submit
from app.webhooks.callback_addresses import check_callback
from cdvae_schema.base import LARGEST_SEED
from cdvae_schema.job_specs import JobSpec, JobStatus
from cdvae_schema.outcomes import JobResult
from cdvae_schema.path_requests import InterpolateRequest, VaryRequest
from cdvae_schema.requests import GenerateRequest, OptimizeRequest, Priority, ReconstructRequest

router = APIRouter(tags=["tasks"])

CIF_PARAMETERS = ("model", "num_candidates", "seed", "sampler", "nfe", "priority", "relax")
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
    services: ServicesDep,
    caller: LimitedCaller,
    idempotency_key: IdempotencyHeader = None,
    prefer: PreferHeader = None,
) -> Response:
    """Queues a job that samples crystals from the model's prior."""
    options = read_submit_options(request, services, caller, idempotency_key)
    limit = min(PLAIN_BYTES, services.settings.max_body_bytes)
    body = await read_body(request, limit, services.settings.body_seconds)
    kind = check_media_type(request, body, (JSON,))
    content = parse_json(GenerateRequest, body)
    check_callback(content.callback_url, caller, services.settings)
    return await submit(services, plan_generate(services.models, content), options, kind, body)


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
    services: ServicesDep,
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
    options = read_submit_options(request, services, caller, idempotency_key)
    settings = services.settings
    body = await read_body(request, settings.max_body_bytes, settings.body_seconds)
    kind = check_media_type(request, body, (JSON, CIF))
    present = tuple(name for name in CIF_PARAMETERS if name in request.query_params)
    cif_options = CifOptions(model, num_candidates, seed, sampler, nfe, priority, relax, present)
    spec = await services.parsers.run(
        plan_reconstruct, services.models.folder, body, kind, cif_options
    )
    return await submit(services, spec, options, kind, body)


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
    services: ServicesDep,
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
    options = read_submit_options(request, services, caller, idempotency_key)
    return await _plan_and_submit(request, services, options, plan_optimize, prop)


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
    services: ServicesDep,
    caller: LimitedCaller,
    idempotency_key: IdempotencyHeader = None,
    prefer: PreferHeader = None,
) -> Response:
    """Queues a job that decodes points between the latents of two given crystals."""
    options = read_submit_options(request, services, caller, idempotency_key)
    return await _plan_and_submit(request, services, options, plan_interpolate)


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
    services: ServicesDep,
    caller: LimitedCaller,
    idempotency_key: IdempotencyHeader = None,
    prefer: PreferHeader = None,
) -> Response:
    """Queues a job that decodes latents around that of a given crystal."""
    options = read_submit_options(request, services, caller, idempotency_key)
    return await _plan_and_submit(request, services, options, plan_variations)


async def _plan_and_submit(
    request: Request,
    services: Services,
    options: SubmitOptions,
    plan: Callable[..., JobSpec],
    *arguments: Any,
) -> Response:
    """The answer to a JSON body with structures in it, which `plan` reads in its own process."""
    settings = services.settings
    body = await read_body(request, settings.max_body_bytes, settings.body_seconds)
    kind = check_media_type(request, body, (JSON,))
    spec = await services.parsers.run(plan, services.models.folder, body, *arguments)
    return await submit(services, spec, options, kind, body)
