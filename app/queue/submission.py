"""Queue a planned job, and wait for its result if the client prefers that."""

import hashlib
import logging
import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import Header, Request
from fastapi.responses import Response
from redis.exceptions import RedisError

from app.auth.caller import Caller
from app.dependencies import Services
from app.http.negotiation import choose
from app.http.prefer_wait import wait_for_end, wanted_wait
from app.http.problems import ApiError, FieldError, invalid
from app.http.request_id import request_id
from app.http.responses import json_reply
from app.queue.job_queue import Origin, RejectedJobError
from app.results.delivery import result_response
from app.results.result_export import FORMS
from cdvae_schema.job_specs import JobSpec
from cdvae_service.telemetry.logs import note_job
from cdvae_service.telemetry.tracing import carried_context

log = logging.getLogger(__name__)

FULL_SECONDS = 10
QUOTA_SECONDS = 30

IdempotencyHeader = Annotated[
    str | None,
    Header(
        description="1 to 255 visible ASCII characters. The same key with the same request returns "
        "the first job, with another request 409."
    ),
]

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True)
class SubmitOptions:
    """Options in the headers of a POST.

    key: the idempotency key, or None; wait: seconds; form: the format of the result.
    """

    caller: Caller
    path: str  # with the query
    request_id: str
    key: str | None
    wait: int
    form: str


def read_submit_options(
    request: Request, services: Services, caller: Caller, key: str | None
) -> SubmitOptions:
    """Return the options in the headers; they are checked before the body is read."""
    if key is not None and not _KEY.fullmatch(key):
        raise ApiError(400, "Idempotency-Key must have 1 to 255 visible ASCII characters.")
    seconds = wanted_wait(request, services.settings.max_wait)
    return SubmitOptions(
        caller=caller,
        path=f"{request.url.path}?{request.url.query}",
        request_id=request_id(request.scope),
        key=key,
        wait=seconds,
        form=choose(request, FORMS) if seconds else "",
    )


async def submit(
    services: Services, spec: JobSpec, options: SubmitOptions, kind: str, body: bytes
) -> Response:
    """Queue the job that was planned from `body`; wait for its end if the client prefers that."""
    await _require_potential(services, spec)
    origin = Origin(
        owner=options.caller.owner,
        quota=options.caller.quota,
        key_digest=hashlib.sha256(options.key.encode()).hexdigest() if options.key else "",
        fingerprint=_fingerprint(options, kind, body) if options.key else "",
        request_id=options.request_id,
        trace=carried_context(),
    )
    try:
        status = await services.queue.submit(spec, origin)
    except RejectedJobError as error:
        raise _refusal(error.reason, options.caller.quota) from error
    except RedisError as error:
        log.error("Redis failed during the submission of job %s: %s", spec.id, error)
        raise _unconfirmed(spec.id, options.key) from error
    note_job(status.id)
    if status.id == spec.id:
        services.job_metrics.submitted(spec.kind, spec.model)
    headers = {"Location": status.links.self}
    if options.wait:
        headers["Preference-Applied"] = f"wait={options.wait}"
        try:
            status = await wait_for_end(services, status, options.caller.owner, options.wait)
        except RedisError as error:  # the job is queued: the client must learn its id
            log.warning("cannot wait for job %s: %s", status.id, error)
        if status.state in ("succeeded", "cancelled"):
            return await result_response(services, status, options.form, headers)
    return json_reply(status, 202, headers)


async def _require_potential(services: Services, spec: JobSpec) -> None:
    """Raise a 422 if the job needs relaxation and no live worker supports it.

    Without a live worker this is unknown, and the job waits like every other.
    """
    if not spec.request.relax:
        return
    live = await services.queue.live_workers()
    if live and not any(worker.relax for worker in live):
        detail = (
            "/relax: no worker has an interatomic potential; it comes with the package set "
            "'worker' (pip install 'cdvae-service[worker]')"
        )
        raise invalid([FieldError(detail=detail, pointer="/relax")])


def _unconfirmed(job_id: str, key: str | None) -> ApiError:
    """Return the 503 for a submission that Redis did not answer; the job may be queued."""
    if key:
        advice = "Send the request again with the same Idempotency-Key."
    else:
        advice = (
            f"Once the queue answers, `GET /jobs/{job_id}` tells: 404 means that the job was not "
            "queued. Requests with an Idempotency-Key can be sent again safely."
        )
    detail = f"The job queue did not confirm the job; it may have been queued. {advice}"
    return ApiError(503, detail, members={"job_id": job_id})


def _refusal(reason: str, quota: int) -> ApiError:
    if reason == "conflict":
        return ApiError(409, "This Idempotency-Key was already used for a different request.")
    if reason == "quota":
        headers = {"Retry-After": str(QUOTA_SECONDS)}
        return ApiError(
            429, f"Quota exceeded: this key already has {quota} unfinished jobs.", headers=headers
        )
    headers = {"Retry-After": str(FULL_SECONDS)}
    return ApiError(503, "The queue of this priority is full. Retry later.", headers=headers)


def _fingerprint(options: SubmitOptions, kind: str, body: bytes) -> str:
    """Return a digest of everything that determines the job."""
    digest = hashlib.sha256(f"{options.path}\n{kind}\n".encode())
    digest.update(body)
    return digest.hexdigest()
