"""Errors of the client.

CdvaeClientError
├── MissingPackageError          a conversion needs pymatgen or ASE
├── UnreachableError             no response
├── WaitTimeoutError             the job did not end in time (it continues)
├── JobEndedError                the job ended without a complete result
│   ├── JobFailedError
│   └── JobCancelledError
└── RefusedError                 an error response, with its problem document
    ├── InvalidRequestError      400, 413, 415, 422: invalid request
    ├── KeyRefusedError          401
    ├── ForbiddenError           403
    ├── NotFoundError            404
    ├── ConflictError            409
    ├── GoneError                410
    ├── RateLimitedError         429
    ├── UnavailableError         502, 503, 504
    └── ServerError              any other 5xx
"""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx2

    from cdvae_schema.job_specs import JobStatus

DETAIL_CHARACTERS = 300  # of a response without a problem document, such as the page of a proxy


class CdvaeClientError(Exception):
    """Base of all errors of this package."""


class MissingPackageError(CdvaeClientError, ImportError):
    """A conversion needs an optional package; `name` is the package."""

    def __init__(self, name: str) -> None:
        super().__init__(f"this needs {name}: pip install {name}", name=name)


class UnreachableError(CdvaeClientError):
    """The service did not respond; `__cause__` has the reason."""


class WaitTimeoutError(CdvaeClientError, TimeoutError):
    """The job did not end in time; it continues, and you can call `wait` again."""


class JobEndedError(CdvaeClientError):
    """The job ended without a complete result; `status` is its last status."""

    def __init__(self, message: str, status: JobStatus) -> None:
        super().__init__(message)
        self.status = status


class JobFailedError(JobEndedError):
    """The job failed; `code` and the message come from the service."""

    def __init__(self, status: JobStatus) -> None:
        error = status.error
        self.code = error.code if error else "unknown"
        detail = error.detail if error else "the service gives no reason"
        super().__init__(f"job {status.id} failed ({self.code}): {detail}", status)


class JobCancelledError(JobEndedError):
    """The job was cancelled; `Job.result` returns its finished crystals."""

    def __init__(self, status: JobStatus) -> None:
        super().__init__(f"job {status.id} was cancelled", status)


@dataclass(frozen=True)
class Fault:
    """One error of a request and its place in the request."""

    detail: str
    pointer: str | None = None  # JSON pointer into the body
    parameter: str | None = None  # of the query
    block: str | None = None  # of the CIF
    line: int | None = None  # of the CIF, from 1


class RefusedError(CdvaeClientError):
    """The service returned an error response.

    status: HTTP status; title, detail, faults: from the problem document; retry_after: seconds from
    the `Retry-After` header, or None; request_id: id of the request in the service's log.
    """

    def __init__(self, response: httpx2.Response) -> None:
        problem = _problem(response)
        self.status = response.status_code
        self.title = str(problem.get("title", response.reason_phrase))
        self.detail = str(problem.get("detail") or response.text[:DETAIL_CHARACTERS] or self.title)
        self.faults = [_fault(one) for one in problem.get("errors") or []]
        self.retry_after = retry_after(response)
        self.request_id = response.headers.get("x-request-id")
        super().__init__(f"{self.status} {self.title}: {self.detail}")


class InvalidRequestError(RefusedError, ValueError):
    """The request is invalid; `faults` names the fields."""


class KeyRefusedError(RefusedError):
    """The API key is missing or invalid."""


class ForbiddenError(RefusedError):
    """The service refuses this host name or origin."""


class NotFoundError(RefusedError, LookupError):
    """No such job, crystal or model; jobs of other keys and expired jobs count as unknown."""


class ConflictError(RefusedError):
    """The state of the job forbids this, or another request has used the idempotency key."""


class GoneError(RefusedError):
    """The service no longer stores the result."""


class RateLimitedError(RefusedError):
    """The key exceeds its rate limit or its quota of unfinished jobs."""


class UnavailableError(RefusedError):
    """The service is temporarily unavailable."""


class ServerError(RefusedError):
    """Internal error of the service; quote `request_id` to the operator."""


_TYPES: dict[int, type[RefusedError]] = {
    400: InvalidRequestError,
    401: KeyRefusedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: GoneError,
    413: InvalidRequestError,
    415: InvalidRequestError,
    422: InvalidRequestError,
    429: RateLimitedError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
}


def refusal(response: httpx2.Response) -> RefusedError:
    """Return the error for a response, whose body must have been read."""
    fallback = ServerError if response.status_code >= 500 else RefusedError
    return _TYPES.get(response.status_code, fallback)(response)


def retry_after(response: httpx2.Response) -> float | None:
    """Return the seconds of the `Retry-After` header, a number or a date; None without it."""
    value = response.headers.get("retry-after", "").strip()
    if value.isdigit():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
        now = parsedate_to_datetime(response.headers["date"])
    except (KeyError, ValueError):
        return None
    return max(0.0, (moment - now).total_seconds())


def _problem(response: httpx2.Response) -> dict[str, Any]:
    if response.headers.get("content-type", "").partition(";")[0] != "application/problem+json":
        return {}
    try:
        document = response.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _fault(one: dict[str, Any]) -> Fault:
    names = ("pointer", "parameter", "block", "line")
    return Fault(str(one.get("detail", "")), **{name: one.get(name) for name in names})
