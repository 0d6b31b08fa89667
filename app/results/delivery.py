"""Stream finished results to clients in the requested format."""

from collections.abc import Iterator
from typing import Any

from anyio.to_thread import run_sync
from fastapi.responses import Response, StreamingResponse

from app.dependencies import Services
from app.http.problems import ApiError
from app.results.result_export import (
    CRYSTAL_FORMS,
    FORMS,
    StoredResult,
    as_cif,
    as_json,
    as_ndjson,
    as_pymatgen,
    as_xyz,
    as_zip,
    stored_result,
)
from cdvae_schema.crystal_records import CrystalRecord
from cdvae_schema.job_specs import FINAL_STATES, JobStatus
from cdvae_schema.outcomes import JobResult

NOT_DONE_SECONDS = 1

_TEXT = {"schema": {"type": "string"}}
RESULT_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "model": JobResult,
        "content": {
            FORMS["cif"]: _TEXT,
            FORMS["ndjson"]: _TEXT,
            FORMS["xyz"]: _TEXT,
            FORMS["pymatgen"]: {"schema": {"type": "array", "items": {"type": "object"}}},
            FORMS["zip"]: {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
CRYSTAL_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "model": CrystalRecord,
        "content": {
            **{CRYSTAL_FORMS[name]: _TEXT for name in ("cif", "xyz", "poscar")},
            CRYSTAL_FORMS["pymatgen"]: {"schema": {"type": "object"}},
        },
    }
}

_WRITERS = {"cif": as_cif, "ndjson": as_ndjson, "xyz": as_xyz, "pymatgen": as_pymatgen}


async def finished_result(services: Services, status: JobStatus) -> StoredResult:
    """Return the stored result of a job that has one; raise a 409 or 410 for others."""
    if status.state not in FINAL_STATES:
        headers = {"Retry-After": str(NOT_DONE_SECONDS)}
        raise ApiError(409, f"The job is {status.state}; it has no result yet.", headers=headers)
    if status.state == "failed":
        reason = status.error.detail if status.error else ""
        raise ApiError(409, f"The job failed and has no result: {reason}")
    result = await run_sync(stored_result, services.store, status.id)
    if status.state == "succeeded" and result.summary is None:
        raise ApiError(410, "The result of this job has expired.")
    return result


async def result_response(
    services: Services, status: JobStatus, form: str, headers: dict[str, str] | None = None
) -> Response:
    """Stream the result in one of `FORMS`; raises as `finished_result`."""
    result = await finished_result(services, status)
    sent = {"Vary": "Accept", **(headers or {})}
    if form != "json":
        ending = "json" if form == "pymatgen" else form
        sent["Content-Disposition"] = f'attachment; filename="{status.id}.{ending}"'
    return StreamingResponse(_pieces(form, status, result), headers=sent, media_type=FORMS[form])


def _pieces(form: str, status: JobStatus, result: StoredResult) -> Iterator[str] | Iterator[bytes]:
    if form == "zip":
        return as_zip(status, result)
    writer = _WRITERS.get(form)
    return writer(result) if writer else as_json(status, result)
