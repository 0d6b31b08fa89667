"""Calls of the API as flows (see `call_driver`)."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import httpx2
from pydantic import BaseModel
from pydantic_core import from_json

from cdvae_client.call_driver import Flow, Pause, Retries, exchange
from cdvae_client.client_errors import JobCancelledError, JobFailedError, WaitTimeoutError
from cdvae_client.client_settings import TIMEOUT, patient
from cdvae_client.crystals import Result
from cdvae_schema.cards import ModelCard
from cdvae_schema.job_specs import FINAL_STATES, JobKind, JobState, JobStatus

Form = Literal["json", "cif", "ndjson", "zip", "xyz", "pymatgen"]
Told = Callable[[JobStatus], None]
M = TypeVar("M", bound=BaseModel)

LONG_WAIT = 30  # s, for `Prefer: wait`
SHORT_WAIT = 1  # s, for `Prefer: wait` where progress is reported
PAGE = 100  # most jobs per response


class Calls:
    """Calls that build their requests with one HTTP client."""

    def __init__(self, http: httpx2.Client | httpx2.AsyncClient, retries: Retries) -> None:
        self._http, self.retries = http, retries

    def _ask(self, method: str, path: str, **options: Any) -> Flow[httpx2.Response]:
        request = self._http.build_request(method, path, **options)
        return exchange(request, self.retries)

    def submit(
        self, path: str, body: bytes, key: str | None, params: dict[str, str] | None = None
    ) -> Flow[JobStatus]:
        """Submit a job; without a key a random one is used, so that a retry makes no second job."""
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": key or uuid.uuid4().hex,
        }
        response = yield from self._ask("POST", path, content=body, headers=headers, params=params)
        return _read(JobStatus, response)

    def status(self, job_id: str, wait: float = 0.0) -> Flow[JobStatus]:
        """Return the status, at the latest after `wait` seconds, earlier if the job ends."""
        options: dict[str, Any] = {}
        if wait:
            options["headers"] = {"Prefer": f"wait={round(wait)}"}
            options["timeout"] = patient(self._http.timeout, wait + TIMEOUT)
        response = yield from self._ask("GET", f"/jobs/{job_id}", **options)
        return _read(JobStatus, response)

    def end(self, job_id: str, timeout: float | None, told: Told | None) -> Flow[JobStatus]:
        """Wait for the end of the job; `told` receives every status. Raises WaitTimeoutError."""
        stop = None if timeout is None else time.monotonic() + timeout
        status = yield from self.status(job_id)
        while True:
            if told is not None:
                told(status)
            if status.state in FINAL_STATES:
                return status
            asked = time.monotonic()
            left = LONG_WAIT if stop is None else stop - asked
            if left <= 0:
                raise WaitTimeoutError(f"job {job_id} is still {status.state} after {timeout:g} s")
            wait = min(LONG_WAIT if told is None else SHORT_WAIT, max(left, 1.0))
            status = yield from self.status(job_id, wait)
            # A service with too many waiting clients responds immediately.
            early = asked + min(SHORT_WAIT, left) - time.monotonic()
            if status.state not in FINAL_STATES and early > 0:
                yield Pause(early)

    def result(self, job_id: str) -> Flow[Result]:
        """Return the result of a finished job."""
        return Result.of((yield from self.download(job_id, "json")))

    def download(self, job_id: str, form: Form) -> Flow[bytes]:
        """Return the result in one of its formats."""
        path = f"/jobs/{job_id}/result"
        response = yield from self._ask("GET", path, params={"format": form})
        return response.content

    def cancel(self, job_id: str) -> Flow[JobStatus]:
        """Cancel a job and return its status."""
        return _read(JobStatus, (yield from self._ask("DELETE", f"/jobs/{job_id}")))

    def jobs(
        self, state: JobState | None, kind: JobKind | None, limit: int
    ) -> Flow[list[JobStatus]]:
        """Return the newest jobs, at most `limit`; fetches as many pages as necessary."""
        filters = {"state": state, "kind": kind}
        params = {name: value for name, value in filters.items() if value is not None}
        found: list[JobStatus] = []
        cursor: dict[str, str] = {}
        while True:
            query = {**params, **cursor, "limit": str(min(limit - len(found), PAGE))}
            response = yield from self._ask("GET", "/jobs", params=query)
            listed = from_json(response.content)["jobs"]
            found += [JobStatus.model_validate(one, extra="ignore") for one in listed]
            following = response.links.get("next")
            if following is None or len(found) >= limit:
                return found
            cursor = {"cursor": httpx2.URL(following["url"]).params["cursor"]}

    def models(self) -> Flow[list[ModelCard]]:
        """Return the cards of all models."""
        response = yield from self._ask("GET", "/models")
        listed = from_json(response.content)["models"]
        return [ModelCard.model_validate(one, extra="ignore") for one in listed]

    def model(self, name: str) -> Flow[ModelCard]:
        """Return the card of one model."""
        return _read(ModelCard, (yield from self._ask("GET", f"/models/{name}")))


def raise_unless_whole(status: JobStatus) -> None:
    """Raise JobFailedError or JobCancelledError for a failed or cancelled job."""
    if status.state == "failed":
        raise JobFailedError(status)
    if status.state == "cancelled":
        raise JobCancelledError(status)


def _read(model: type[M], response: httpx2.Response) -> M:
    return model.model_validate_json(response.content, extra="ignore")
