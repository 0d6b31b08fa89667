"""Errors as RFC 9457 problem documents; a client's mistake is a 4xx that says what and where."""

import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException

from app.http.request_id import request_id
from cdvae_service.results.result_store import ResultStoreError

logger = logging.getLogger(__name__)

PROBLEM_JSON = "application/problem+json"
RETRY_SECONDS = 5
MAX_ERRORS = 20
MAX_TEXT = 500

TITLES = {
    400: "Unreadable request",
    401: "Key needed",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    406: "Not acceptable",
    408: "Request too slow",
    409: "Not possible in this state",
    410: "Gone",
    413: "Body too large",
    415: "Unsupported media type",
    422: "Invalid request",
    429: "Too many requests",
    500: "Internal error",
    503: "Service unavailable",
}


class FieldError(BaseModel):
    """One reason, and where in the request it lies."""

    detail: str
    pointer: str | None = Field(default=None, description="JSON pointer (RFC 6901) into the body.")
    parameter: str | None = Field(default=None, description="Name of the query parameter.")
    block: str | None = Field(default=None, description="Name of the CIF block.")
    line: int | None = Field(default=None, description="Line of the CIF text, from 1.")


class Problem(BaseModel):
    """RFC 9457 problem document."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[FieldError] | None = None


class ApiError(Exception):
    """An answer other than success; raised anywhere below an endpoint."""

    def __init__(
        self,
        status: int,
        detail: str,
        errors: Sequence[FieldError] = (),
        headers: dict[str, str] | None = None,
        members: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = list(errors)
        self.headers = headers or {}
        self.members = members or {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors travel back from the processes that read bodies."""
        return ApiError, (self.status, self.detail, self.errors, self.headers, self.members)


def invalid(errors: Sequence[FieldError], status: int = 422) -> ApiError:
    """The error for one or more fields at fault; its detail names the first."""
    listed = [_clipped(error) for error in errors[:MAX_ERRORS]]
    more = len(errors) - 1
    detail = listed[0].detail + (f" (and {more} more)" if more else "")
    return ApiError(status, detail, listed)


def _clipped(error: FieldError) -> FieldError:
    """The error with its texts cut: names in a request may be as long as its body."""
    texts = {
        name: text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
        for name, text in error.model_dump(exclude_none=True).items()
        if isinstance(text, str)
    }
    return error.model_copy(update=texts)


def pointer(*parts: str | int) -> str:
    """A JSON pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def problem(path: str, error: ApiError) -> Response:
    """The problem document of an error."""
    title = TITLES.get(error.status, "Error")
    content: dict[str, Any] = {
        "type": "urn:cdvae:problem:" + title.lower().replace(" ", "-"),
        "title": title,
        "status": error.status,
        "detail": error.detail,
        "instance": path,
        **error.members,
    }
    if error.errors:
        content["errors"] = [one.model_dump(exclude_none=True) for one in error.errors]
    headers = dict(error.headers)
    if error.status == 503:
        headers.setdefault("Retry-After", str(RETRY_SECONDS))
    return JSONResponse(content, error.status, headers=headers, media_type=PROBLEM_JSON)


def _bad_parameters(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [
        FieldError(
            detail=f"{one['loc'][-1]}: {one['msg']}",
            parameter=str(one["loc"][-1]),
        )
        for one in error.errors()
    ]
    return problem(request.url.path, invalid(errors))


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path
    details = {404: f"There is nothing at {path}.", 405: f"{request.method} is not for {path}."}
    detail = details.get(error.status_code, str(error.detail))
    headers = dict(error.headers or {})
    return problem(path, ApiError(error.status_code, detail, headers=headers))


def _redis_gone(request: Request, error: Exception) -> Response:
    logger.error("Redis failed during %s %s: %s", request.method, request.url.path, error)
    detail = "The job queue does not answer."
    if request.method not in ("GET", "HEAD", "OPTIONS"):
        detail += " The request may have taken effect."
    return problem(request.url.path, ApiError(503, detail))


def _store_gone(request: Request, error: Exception) -> Response:
    logger.error("results failed during %s %s: %s", request.method, request.url.path, error)
    return problem(request.url.path, ApiError(503, "The store of results does not answer."))


def _unforeseen(request: Request, error: Exception) -> Response:
    detail = f"The service failed; its log has the reason under {request_id(request.scope)}."
    response = problem(request.url.path, ApiError(500, detail))
    response.headers["X-Request-ID"] = request_id(request.scope)
    return response


def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return problem(request.url.path, error)


def install(app: FastAPI) -> None:
    """Makes every error of `app` a problem document."""
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(RequestValidationError, _bad_parameters)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RedisError, _redis_gone)
    app.add_exception_handler(ResultStoreError, _store_gone)
    app.add_exception_handler(Exception, _unforeseen)
