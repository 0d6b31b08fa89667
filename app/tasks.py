"""`POST /generate`, `/reconstruct`, `/optimize`: a checked job onto the queue, `202` back.

Bodies are read here rather than by FastAPI: within a limit, strictly typed, parsed in a thread.
"""

from collections.abc import Callable
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from app.bodies import CIF, JSON, check_media_type, decode, parse_json, read_body
from app.deps import Parts, Services
from app.errors import FieldError, invalid
from app.given import read_cif_body, read_structures
from app.planning import find_card, plan_generate, plan_optimize, plan_reconstruct
from app.replies import json_reply
from schema.base import LARGEST_SEED
from schema.jobs import JobSpec, JobStatus
from schema.requests import (
    GenerateRequest,
    GivenStart,
    OptimizeRequest,
    Priority,
    ReconstructRequest,
    SamplerChoice,
    TaskRequest,
)

router = APIRouter(tags=["tasks"])

OPTIONS = ("model", "num_candidates", "seed", "sampler", "steps", "priority")


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


async def _submit(
    request: Request,
    parts: Services,
    accepted: tuple[str, ...],
    plan: Callable[[bytes, str], JobSpec],
) -> Response:
    """Reads the body, makes the job of it, queues it."""
    body = await read_body(request, parts.settings.max_body_bytes, parts.settings.body_seconds)
    kind = check_media_type(request, body, accepted)

    def work() -> JobStatus:
        spec = plan(body, kind)
        status = parts.queue.submit(spec)
        parts.job_metrics.submitted(spec.kind, spec.model)
        return status

    status = await run_sync(work, limiter=parts.parsers)
    return json_reply(status, 202, {"Location": status.links.self})


@router.post(
    "/generate",
    status_code=202,
    response_model=JobStatus,
    summary="Sample new crystals",
    openapi_extra=_body(False, json=_reference(GenerateRequest)),
)
async def generate(request: Request, parts: Parts) -> Response:
    """Queues a job that samples crystals from the model's prior."""

    def plan(body: bytes, kind: str) -> JobSpec:
        wanted = parse_json(GenerateRequest, body)
        return plan_generate(wanted, find_card(parts.models, wanted.model))

    return await _submit(request, parts, (JSON,), plan)


@router.post(
    "/reconstruct",
    status_code=202,
    response_model=JobStatus,
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
    model: Annotated[str | None, Query(max_length=128)] = None,
    num_candidates: Annotated[int, Query(ge=1, le=1000)] = 1,
    seed: Annotated[int | None, Query(ge=0, le=LARGEST_SEED)] = None,
    sampler: Annotated[str | None, Query(max_length=64)] = None,
    steps: Annotated[int | None, Query(ge=1)] = None,
    priority: Priority = "normal",
) -> Response:
    """Queues a job that encodes every given crystal and decodes candidates for it.

    The query parameters belong to a raw CIF body; a JSON body has these fields itself.
    """

    def plan(body: bytes, kind: str) -> JobSpec:
        if kind == CIF:
            if steps is not None and sampler is None:
                raise invalid([FieldError(detail="steps needs a sampler", parameter="steps")])
            choice = SamplerChoice(name=sampler, steps=steps) if sampler is not None else None
            text = decode(body)
            card = find_card(parts.models, model)
            crystals = read_cif_body(text, card)
            common = TaskRequest(model=model, seed=seed, sampler=choice, priority=priority)
            return plan_reconstruct(common, num_candidates, crystals, card)
        misplaced = [name for name in OPTIONS if name in request.query_params]
        if misplaced:
            detail = f"{misplaced[0]}: with a JSON body this belongs into the body"
            raise invalid([FieldError(detail=detail, parameter=misplaced[0])])
        wanted = parse_json(ReconstructRequest, body)
        card = find_card(parts.models, wanted.model)
        crystals = read_structures(wanted.structures, card, ("structures",))
        return plan_reconstruct(wanted, wanted.num_candidates, crystals, card)

    return await _submit(request, parts, (JSON, CIF), plan)


@router.post(
    "/optimize",
    status_code=202,
    response_model=JobStatus,
    summary="Improve a property",
    openapi_extra=_body(False, json=_reference(OptimizeRequest)),
)
async def optimize(
    request: Request,
    parts: Parts,
    prop: Annotated[
        str, Query(alias="property", max_length=64, description="One of the card's properties.")
    ],
) -> Response:
    """Queues a job that moves latents along the gradient of a property and decodes them."""

    def plan(body: bytes, kind: str) -> JobSpec:
        wanted = parse_json(OptimizeRequest, body)
        card = find_card(parts.models, wanted.model)
        given = wanted.start.structures if isinstance(wanted.start, GivenStart) else []
        crystals = read_structures(given, card, ("start", "structures"))
        return plan_optimize(wanted, prop, crystals, card)

    return await _submit(request, parts, (JSON,), plan)
