"""`/jobs`: what there is, how a job is doing, what came of it, and the wish to stop it."""

import hashlib
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Path, Query, Request
from fastapi.responses import Response
from sse_starlette import EventSourceResponse

from app.auth.authentication import LimitedCaller
from app.dependencies import ServicesDep
from app.http.negotiation import choose
from app.http.prefer_wait import PreferHeader, wait_for_end, wanted_wait
from app.http.problems import ApiError
from app.http.responses import json_reply
from app.queue.job_listing import list_jobs, next_link
from app.queue.job_queue import JobNotFoundError
from app.queue.stored_inputs import given_structures
from app.results.delivery import CRYSTAL_ANSWERS, RESULT_ANSWERS, finished_result, result_response
from app.results.export import CRYSTAL_FORMS, FORMS, crystal_in
from app.routes.event_stream import END, crystals_seen, job_events
from cdvae_schema.base import StrictModel
from cdvae_schema.crystal_records import CrystalInput
from cdvae_schema.job_specs import FINAL_STATES, JobKind, JobState, JobStatus
from cdvae_service.telemetry.logs import note_job

router = APIRouter(prefix="/jobs", tags=["jobs"])

BUSY_SECONDS = 5
PING_SECONDS = 15

JobIdPath = Annotated[str, Path(description="The id that the POST answered with.")]
Form = Annotated[str | None, Query(alias="format", description="Overrides `Accept`.")]

_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "`crystal`, `progress` and a final `done` event.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
    204: {"description": "The `done` event was received before: there is no more."},
}


class JobList(StrictModel):
    """Some of the caller's jobs, newest first; the `Link` header leads to the next ones."""

    jobs: list[JobStatus]


class GivenStructures(StrictModel):
    """The crystals that a job was given, in the order of `request.structures`."""

    structures: list[CrystalInput]


async def job_of(services: ServicesDep, job_id: JobIdPath, caller: LimitedCaller) -> JobStatus:
    """The caller's job; 404 for any other."""
    note_job(job_id)
    try:
        return await services.queue.status(job_id, caller.owner)
    except JobNotFoundError as error:
        raise ApiError(404, str(error)) from error


@router.get("", response_model=JobList, summary="List the jobs")
async def show_jobs(
    request: Request,
    services: ServicesDep,
    caller: LimitedCaller,
    state: JobState | None = None,
    kind: JobKind | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """Returns the caller's jobs, newest first. With a filter a page may be short, even empty,
    though more follow: the `Link` header tells.
    """
    page = await list_jobs(services.queue, caller.owner, state, kind, limit, cursor)
    headers = {"Cache-Control": "no-store"}
    if page.cursor is not None:
        headers["Link"] = next_link(request.url.path, dict(request.query_params), page.cursor)
    return json_reply(JobList(jobs=page.jobs), headers=headers)


@router.get(
    "/{job_id}",
    response_model=JobStatus,
    responses={304: {"description": "Nothing changed since `If-None-Match`."}},
    summary="State and progress",
)
async def show_job(
    request: Request,
    job_id: JobIdPath,
    services: ServicesDep,
    caller: LimitedCaller,
    prefer: PreferHeader = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Returns the job's state, its progress and the request as it was understood."""
    status = await job_of(services, job_id, caller)
    headers = {"Cache-Control": "private, no-cache"}
    seconds = wanted_wait(request, services.settings.max_wait)
    if seconds:
        status = await wait_for_end(services, status, caller.owner, seconds)
        headers["Preference-Applied"] = f"wait={seconds}"
    content = status.model_dump_json()
    headers["ETag"] = f'"{hashlib.sha256(content.encode()).hexdigest()[:32]}"'
    if _matches(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type="application/json")


def _matches(if_none_match: str | None, etag: str) -> bool:
    """Whether a list of entity tags holds this one, by the weak comparison of RFC 9110."""
    tags = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
    return etag in tags or "*" in tags


@router.delete(
    "/{job_id}",
    response_model=JobStatus,
    responses={202: {"model": JobStatus, "description": "A running job was asked to stop."}},
    summary="Cancel",
)
async def cancel_job(job_id: JobIdPath, services: ServicesDep, caller: LimitedCaller) -> Response:
    """Cancels a queued job at once and a running one soon; a final one stays as it is.

    What a running job has finished stays available as its result.
    """
    note_job(job_id)
    try:
        status = await services.queue.cancel(job_id, caller.owner)
    except JobNotFoundError as error:
        raise ApiError(404, str(error)) from error
    return json_reply(status, 200 if status.state in FINAL_STATES else 202)


@router.get(
    "/{job_id}/events",
    response_class=EventSourceResponse,
    responses=_EVENTS,
    summary="The job as it happens",
)
async def show_events(
    job_id: JobIdPath,
    services: ServicesDep,
    caller: LimitedCaller,
    last_event_id: Annotated[
        str | None, Header(description="Id of the last event received: the stream goes on there.")
    ] = None,
) -> Response:
    """Streams progress and finished crystals as server-sent events, up to a final `done`."""
    status = await job_of(services, job_id, caller)
    if last_event_id == END:
        return Response(status_code=204)  # tells an EventSource not to connect again
    if not services.limiter.has_room():
        headers = {"Retry-After": str(BUSY_SECONDS)}
        raise ApiError(503, "Too many event streams are open.", headers=headers)
    events = job_events(services, status, caller.owner, crystals_seen(last_event_id))
    return EventSourceResponse(events, ping=PING_SECONDS)


@router.get(
    "/{job_id}/structures",
    response_model=GivenStructures,
    summary="The crystals that it was given",
)
async def show_structures(
    job_id: JobIdPath, services: ServicesDep, caller: LimitedCaller
) -> Response:
    """Returns the given crystals as they were understood, with their symmetry expanded.

    Empty for a job that was given none. They are kept as long as the job.
    """
    status = await job_of(services, job_id, caller)
    try:
        structures = await given_structures(services.queue, status.id)
    except JobNotFoundError as error:
        raise ApiError(404, str(error)) from error
    return json_reply(GivenStructures(structures=structures))


@router.get("/{job_id}/result", responses=RESULT_ANSWERS, summary="The crystals")
async def show_result(
    request: Request,
    job_id: JobIdPath,
    services: ServicesDep,
    caller: LimitedCaller,
    form: Form = None,
) -> Response:
    """Returns all crystals with metrics and provenance, in the form that `Accept` asks for.

    A cancelled job's result holds what was done; its metrics may be null.
    """
    chosen = choose(request, FORMS)
    return await result_response(services, await job_of(services, job_id, caller), chosen)


@router.get("/{job_id}/crystals/{index}", responses=CRYSTAL_ANSWERS, summary="One crystal")
async def show_crystal(
    request: Request,
    job_id: JobIdPath,
    index: Annotated[int, Path(ge=0)],
    services: ServicesDep,
    caller: LimitedCaller,
    form: Form = None,
) -> Response:
    """Returns the crystal with this index, in the form that `Accept` asks for."""
    chosen = choose(request, CRYSTAL_FORMS)
    result = await finished_result(services, await job_of(services, job_id, caller))
    record = await run_sync(result.crystal, index)
    if record is None:
        raise ApiError(404, f"The job has no crystal {index}.")
    text = await run_sync(crystal_in, chosen, record)
    return Response(text, media_type=CRYSTAL_FORMS[chosen], headers={"Vary": "Accept"})
