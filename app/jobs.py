"""`/jobs/{id}`: how a job is doing, what came of it, and the wish to stop it."""

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response, StreamingResponse

from app.deps import AppSettings, Queue
from app.errors import ApiError
from app.export import (
    CRYSTAL_FORMS,
    FORMS,
    StoredResult,
    as_cif,
    as_json,
    as_ndjson,
    as_zip,
    compact,
    crystal_cif,
    stored_result,
)
from app.negotiation import choose
from app.queue import JobNotFoundError, JobQueue
from app.replies import json_reply
from app.settings import Settings
from schema.crystals import CrystalRecord
from schema.jobs import FINAL_STATES, JobStatus
from schema.outcomes import JobResult

router = APIRouter(prefix="/jobs", tags=["jobs"])

NOT_DONE_SECONDS = 1

JobIdPath = Annotated[str, Path(description="The id that the POST answered with.")]
Form = Annotated[str | None, Query(alias="format", description="Overrides `Accept`.")]

_TEXT = {"schema": {"type": "string"}}
_RESULT: dict[int | str, dict[str, Any]] = {
    200: {
        "model": JobResult,
        "content": {
            FORMS["cif"]: _TEXT,
            FORMS["ndjson"]: _TEXT,
            FORMS["zip"]: {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
_CRYSTAL: dict[int | str, dict[str, Any]] = {
    200: {"model": CrystalRecord, "content": {FORMS["cif"]: _TEXT}}
}


def _status(queue: JobQueue, job_id: str) -> JobStatus:
    try:
        return queue.status(job_id)
    except JobNotFoundError as error:
        raise ApiError(404, str(error)) from error


def _finished(queue: JobQueue, settings: Settings, job_id: str) -> tuple[JobStatus, StoredResult]:
    """Status and stored result of a job that has one; 409 or 410 for others."""
    status = _status(queue, job_id)
    if status.state not in FINAL_STATES:
        headers = {"Retry-After": str(NOT_DONE_SECONDS)}
        raise ApiError(409, f"The job is {status.state}; it has no result yet.", headers=headers)
    if status.state == "failed":
        reason = status.error.detail if status.error else ""
        raise ApiError(409, f"The job failed and has no result: {reason}")
    result = stored_result(settings.home, job_id)
    if status.state == "succeeded" and result.summary is None:
        raise ApiError(410, "The result of this job is no longer stored.")
    return status, result


def _pieces(form: str, status: JobStatus, result: StoredResult) -> Iterator[str] | Iterator[bytes]:
    """The result in one of `FORMS`."""
    if form == "cif":
        return as_cif(result)
    if form == "ndjson":
        return as_ndjson(result)
    if form == "zip":
        return as_zip(status, result)
    return as_json(status, result)


@router.get("/{job_id}", response_model=JobStatus, summary="State and progress")
def show_job(job_id: JobIdPath, queue: Queue) -> Response:
    """Returns the job's state, its progress and the request as it was understood."""
    return json_reply(_status(queue, job_id), headers={"Cache-Control": "no-store"})


@router.delete(
    "/{job_id}",
    response_model=JobStatus,
    responses={202: {"model": JobStatus, "description": "A running job was asked to stop."}},
    summary="Cancel",
)
def cancel_job(job_id: JobIdPath, queue: Queue) -> Response:
    """Cancels a queued job at once and a running one soon; a final one stays as it is.

    What a running job has finished stays available as its result.
    """
    try:
        status = queue.cancel(job_id)
    except JobNotFoundError as error:
        raise ApiError(404, str(error)) from error
    return json_reply(status, 200 if status.state in FINAL_STATES else 202)


@router.get("/{job_id}/result", responses=_RESULT, summary="The crystals")
def show_result(
    request: Request, job_id: JobIdPath, queue: Queue, settings: AppSettings, form: Form = None
) -> Response:
    """Returns all crystals with metrics and provenance, in the form that `Accept` asks for.

    A cancelled job's result holds what was done; its metrics may be null.
    """
    chosen = choose(request, FORMS)
    status, result = _finished(queue, settings, job_id)
    headers = {"Vary": "Accept"}
    if chosen != "json":
        headers["Content-Disposition"] = f'attachment; filename="{job_id}.{chosen}"'
    content = _pieces(chosen, status, result)
    return StreamingResponse(content, headers=headers, media_type=FORMS[chosen])


@router.get("/{job_id}/crystals/{index}", responses=_CRYSTAL, summary="One crystal")
def show_crystal(
    request: Request,
    job_id: JobIdPath,
    index: Annotated[int, Path(ge=0)],
    queue: Queue,
    settings: AppSettings,
    form: Form = None,
) -> Response:
    """Returns the crystal with this index, as JSON or CIF."""
    chosen = choose(request, CRYSTAL_FORMS)
    _, result = _finished(queue, settings, job_id)
    record = result.crystal(index)
    if record is None:
        raise ApiError(404, f"The job has no crystal {index}.")
    text = crystal_cif(record) if chosen == "cif" else compact(record)
    return Response(text, media_type=CRYSTAL_FORMS[chosen], headers={"Vary": "Accept"})
