"""`/jobs`: list jobs, read their state, events and results, cancel them."""

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
from app.results.result_export import CRYSTAL_FORMS, FORMS, crystal_in
from app.routes.event_stream import END, crystals_seen, job_events
from cdvae_schema.base import StrictModel
from cdvae_schema.crystal_records import CrystalInput
from cdvae_schema.job_specs import FINAL_STATES, JobKind, JobState, JobStatus
from cdvae_service.telemetry.logs import note_job

router = APIRouter(prefix="/jobs", tags=["jobs"])

BUSY_SECONDS = 5
PING_SECONDS = 15

JobIdPath = Annotated[str, Path(description="The job id in the response to the POST.")]
Form = Annotated[str | None, Query(alias="format", description="Overrides `Accept`.")]

_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "`crystal`, `progress` and a final `done` event.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
    204: {"description": "The client has received the `done` event already."},
}


class JobList(StrictModel):
    """One page of the caller's jobs, newest first; the `Link` header points to the next page."""

    jobs: list[JobStatus]


class GivenStructures(StrictModel):
    """The input crystals of a job, in the order of `request.structures`."""

    structures: list[CrystalInput]


async def job_of(services: ServicesDep, job_id: JobIdPath, caller: LimitedCaller) -> JobStatus:
    """Return the caller's job; 404 for any other."""
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
    """Return the caller's jobs, newest first. A filter may leave a page short or empty
    although more jobs follow; check the `Link` header.
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
    """Return the job's state, its progress and the request with all defaults filled in."""
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
    """Return whether a list of entity tags holds this one, by the weak comparison of RFC 9110."""
    tags = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
    return etag in tags or "*" in tags


@router.delete(
    "/{job_id}",
    response_model=JobStatus,
    responses={202: {"model": JobStatus, "description": "A running job stops soon."}},
    summary="Cancel",
)
async def cancel_job(job_id: JobIdPath, services: ServicesDep, caller: LimitedCaller) -> Response:
    """Cancel a queued job immediately and a running one soon; a final job does not change.

    Crystals that a running job has finished remain available as its result.
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
    summary="Stream events",
)
async def show_events(
    job_id: JobIdPath,
    services: ServicesDep,
    caller: LimitedCaller,
    last_event_id: Annotated[
        str | None, Header(description="Id of the last received event; the stream continues there.")
    ] = None,
) -> Response:
    """Stream progress and finished crystals as server-sent events, up to a final `done`."""
    status = await job_of(services, job_id, caller)
    if last_event_id == END:
        return Response(status_code=204)  # an EventSource does not reconnect after a 204
    if not services.limiter.has_room():
        headers = {"Retry-After": str(BUSY_SECONDS)}
        raise ApiError(503, "Too many event streams are open.", headers=headers)
    events = job_events(services, status, caller.owner, crystals_seen(last_event_id))
    return EventSourceResponse(events, ping=PING_SECONDS)


@router.get(
    "/{job_id}/structures",
    response_model=GivenStructures,
    summary="Input crystals",
)
async def show_structures(
    job_id: JobIdPath, services: ServicesDep, caller: LimitedCaller
) -> Response:
    """Return the input crystals as the service read them, with their symmetry expanded.

    The list is empty for a job without input crystals. They are stored as long as the job.
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
    """Return all crystals with metrics and provenance, in the form that `Accept` asks for.

    The result of a cancelled job holds its finished crystals; its metrics may be null.
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
    """Return the crystal with this index, in the form that `Accept` asks for."""
    chosen = choose(request, CRYSTAL_FORMS)
    result = await finished_result(services, await job_of(services, job_id, caller))
    record = await run_sync(result.crystal, index)
    if record is None:
        raise ApiError(404, f"The job has no crystal {index}.")
    text = await run_sync(crystal_in, chosen, record)
    return Response(text, media_type=CRYSTAL_FORMS[chosen], headers={"Vary": "Accept"})
