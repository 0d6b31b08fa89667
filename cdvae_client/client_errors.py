"""What can go wrong, as types: a refusal of the service, a service out of reach, a job's end.

CdvaeClientError
├── MissingPackageError          a conversion needs pymatgen or ASE
├── UnreachableError             no answer at all
├── WaitTimeoutError             the job was not over in time (it goes on)
├── JobEndedError                the job is over without a whole result
│   ├── JobFailedError
│   └── JobCancelledError
└── RefusedError                 an answer other than success, with its problem document
    ├── InvalidRequestError      400, 413, 415, 422: the request itself
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

DETAIL_CHARACTERS = 300  # of an answer that is no problem document, such as a proxy's page


class CdvaeClientError(Exception):
    """Base of all errors of this package."""


class MissingPackageError(CdvaeClientError, ImportError):
    """A conversion needs an optional package; `name` is the package."""

    def __init__(self, name: str) -> None:
        super().__init__(f"this needs {name}: pip install {name}", name=name)


class UnreachableError(CdvaeClientError):
    """The service did not answer; `__cause__` has the reason."""


class WaitTimeoutError(CdvaeClientError, TimeoutError):
    """The job was not over in time; it goes on, and `wait` may be called again."""


class JobEndedError(CdvaeClientError):
    """The job ended without a whole result; `status` is its last state."""

    def __init__(self, message: str, status: JobStatus) -> None:
        super().__init__(message)
        self.status = status


class JobFailedError(JobEndedError):
    """The job failed: `code` is the service's, the message its sentence."""

    def __init__(self, status: JobStatus) -> None:
        error = status.error
        self.code = error.code if error else "unknown"
        detail = error.detail if error else "the service gives no reason"
        super().__init__(f"job {status.id} failed ({self.code}): {detail}", status)


class JobCancelledError(JobEndedError):
    """The job was cancelled; `Job.result` still has what was done."""

    def __init__(self, status: JobStatus) -> None:
        super().__init__(f"job {status.id} was cancelled", status)


@dataclass(frozen=True)
class Fault:
    """One reason of a refusal, and where in the request it lies."""

    detail: str
    pointer: str | None = None  # JSON pointer into the body
    parameter: str | None = None  # of the query
    block: str | None = None  # of the CIF
    line: int | None = None  # of the CIF, from 1


class RefusedError(CdvaeClientError):
    """An answer other than success.

    status: of HTTP; title, detail, faults: of the problem document; retry_after: seconds after
    which the service may be asked again, where it says so; request_id: what its log calls this.
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
    """The request is at fault; `faults` says where."""


class KeyRefusedError(RefusedError):
    """The API key is missing or not valid."""


class ForbiddenError(RefusedError):
    """The service does not answer under this name or from this place."""


class NotFoundError(RefusedError, LookupError):
    """No such job (or not any more, or another key's), crystal or model."""


class ConflictError(RefusedError):
    """Not possible in this state, or an idempotency key that was used for another request."""


class GoneError(RefusedError):
    """The result is no longer stored."""


class RateLimitedError(RefusedError):
    """The key's rate or its number of unfinished jobs is used up."""


class UnavailableError(RefusedError):
    """The service cannot answer now."""


class ServerError(RefusedError):
    """The service failed; its log has the reason under `request_id`."""


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
    """The error of an answer, which must have been read."""
    fallback = ServerError if response.status_code >= 500 else RefusedError
    return _TYPES.get(response.status_code, fallback)(response)


def retry_after(response: httpx2.Response) -> float | None:
    """Seconds that the `Retry-After` header asks for, in either of its forms; None without one."""
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
