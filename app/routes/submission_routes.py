"""`POST /generate`, `/reconstruct`, …: check the request, queue a job, answer `202`.

Bodies are read here instead of by FastAPI: with limits, strict types, and in parser processes.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from app.auth.authentication import LimitedCaller
from app.dependencies import Services, ServicesDep
from app.http.bodies import CIF, JSON, check_media_type, parse_json, read_body
from app.http.prefer_wait import PreferHeader
from app.planning.plan_generate import plan_generate
from app.planning.plan_optimize import plan_optimize
from app.planning.plan_paths import plan_interpolate, plan_variations
from app.planning.plan_reconstruct import CifOptions, plan_reconstruct
from app.queue.submission import IdempotencyHeader, SubmitOptions, read_submit_options, submit
from app.webhooks.callback_addresses import check_callback
from cdvae_schema.base import LARGEST_SEED
from cdvae_schema.job_specs import JobSpec, JobStatus
from cdvae_schema.outcomes import JobResult
from cdvae_schema.path_requests import InterpolateRequest, VaryRequest
from cdvae_schema.requests import GenerateRequest, OptimizeRequest, Priority, ReconstructRequest

router = APIRouter(tags=["tasks"])

CIF_PARAMETERS = ("model", "num_candidates", "seed", "sampler", "nfe", "priority", "relax")
PLAIN_BYTES = 64 * 1024  # limit of a body without structures, which is parsed in the event loop


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


Endpoint = Callable[..., Awaitable[Response]]

_WAITED: dict[int | str, dict[str, Any]] = {
    200: {"model": JobResult, "description": "With `Prefer: wait`: the job ended within the time."}
}


async def _submit_options(
    request: Request,
    services: ServicesDep,
    caller: LimitedCaller,
    idempotency_key: IdempotencyHeader = None,
    prefer: PreferHeader = None,
) -> SubmitOptions:
    return read_submit_options(request, services, caller, idempotency_key)


Options = Annotated[SubmitOptions, Depends(_submit_options)]


def _task(path: str, summary: str, body: dict[str, Any]) -> Callable[[Endpoint], Endpoint]:
    """Return the decorator of the endpoint that queues a job."""
    return router.post(
        path,
        status_code=202,
        response_model=JobStatus,
        responses=_WAITED,
        summary=summary,
        openapi_extra=body,
    )


@_task("/generate", "Generate crystals", _body(False, json=_reference(GenerateRequest)))
async def generate(request: Request, services: ServicesDep, options: Options) -> Response:
    """Queue a job that samples crystals from the model's prior."""
    limit = min(PLAIN_BYTES, services.settings.max_body_bytes)
    body = await read_body(request, limit, services.settings.body_seconds)
    kind = check_media_type(request, body, (JSON,))
    content = parse_json(GenerateRequest, body)
    check_callback(content.callback_url, options.caller, services.settings)
    return await submit(services, plan_generate(services.models, content), options, kind, body)


@_task(
    "/reconstruct",
    "Encode and decode crystals",
    _body(
        True,
        json=_reference(ReconstructRequest),
        cif={"schema": {"type": "string", "description": "One or more `data_` blocks."}},
    ),
)
async def reconstruct(
    request: Request,
    services: ServicesDep,
    options: Options,
    model: Annotated[str | None, Query(max_length=128)] = None,
    num_candidates: Annotated[int, Query(ge=1, le=1000)] = 1,
    seed: Annotated[int | None, Query(ge=0, le=LARGEST_SEED)] = None,
    sampler: Annotated[str | None, Query(max_length=64)] = None,
    nfe: Annotated[int | None, Query(ge=1)] = None,
    priority: Priority = "normal",
    relax: bool = False,
) -> Response:
    """Queue a job that encodes every input crystal and decodes candidates for it.

    The query parameters apply to a raw CIF body; a JSON body has these fields itself.
    """
    settings = services.settings
    body = await read_body(request, settings.max_body_bytes, settings.body_seconds)
    kind = check_media_type(request, body, (JSON, CIF))
    present = tuple(name for name in CIF_PARAMETERS if name in request.query_params)
    cif_options = CifOptions(model, num_candidates, seed, sampler, nfe, priority, relax, present)
    spec = await services.parsers.run(
        plan_reconstruct, services.models.folder, body, kind, cif_options
    )
    return await submit(services, spec, options, kind, body)


@_task("/optimize", "Optimize properties", _body(False, json=_reference(OptimizeRequest)))
async def optimize(
    request: Request,
    services: ServicesDep,
    options: Options,
    prop: Annotated[
        str | None,
        Query(
            alias="property",
            max_length=64,
            description="A property of the model's card; optional if the body has `objectives`.",
        ),
    ] = None,
) -> Response:
    """Queue a job that searches the latent space for better crystals from each start."""
    return await _plan_and_submit(request, services, options, plan_optimize, prop)


@_task(
    "/interpolate",
    "Interpolate between two crystals",
    _body(True, json=_reference(InterpolateRequest)),
)
async def interpolate(request: Request, services: ServicesDep, options: Options) -> Response:
    """Queue a job that decodes points between the latents of two input crystals."""
    return await _plan_and_submit(request, services, options, plan_interpolate)


@_task("/variations", "Make variations of a crystal", _body(True, json=_reference(VaryRequest)))
async def vary(request: Request, services: ServicesDep, options: Options) -> Response:
    """Queue a job that decodes latents near the latent of an input crystal."""
    return await _plan_and_submit(request, services, options, plan_variations)


async def _plan_and_submit(
    request: Request,
    services: Services,
    options: SubmitOptions,
    plan: Callable[..., JobSpec],
    *arguments: Any,
) -> Response:
    """Return the response to a JSON body with structures; `plan` runs in a parser process."""
    settings = services.settings
    body = await read_body(request, settings.max_body_bytes, settings.body_seconds)
    kind = check_media_type(request, body, (JSON,))
    spec = await services.parsers.run(plan, services.models.folder, body, *arguments)
    return await submit(services, spec, options, kind, body)
