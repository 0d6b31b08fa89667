"""Read request bodies within limits, decode them and validate them against their models."""

import asyncio
import json
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.requests import ClientDisconnect

from app.http.problems import ApiError, FieldError, invalid, pointer

JSON = "application/json"
CIF = "chemical/x-cif"

MAX_PROBLEMS = 1000
DRAIN_BYTES = 100 * 1024 * 1024  # most that is read and dropped of a body above the limit

Body = TypeVar("Body", bound=BaseModel)


def media_type(request: Request) -> str:
    """Return the `Content-Type` without its parameters, in lower case; empty without one."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_body(request: Request, limit: int, seconds: float) -> bytes:
    """Return the whole body.

    A body of more than `limit` bytes gets a 413. Many clients read the answer only after they
    have sent everything, and a closed connection would discard it. So up to DRAIN_BYTES of the
    body are read and dropped first, unless the client waits for `100 Continue`.

    Raises ApiError: 400 if the client disconnects, 408 after `seconds`, 413, or 415 for a
    compressed body.
    """
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise ApiError(415, f"Content-Encoding {encoding!r} is not supported.")
    header = request.headers.get("content-length", "")
    announced = int(header) if header.isdigit() else 0
    asks_first = request.headers.get("expect", "").lower() == "100-continue"
    if announced > limit and (asks_first or announced > limit + DRAIN_BYTES):
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size <= limit:
                    chunks.append(chunk)
                    continue
                chunks.clear()
                if size > limit + DRAIN_BYTES:
                    break
    except ClientDisconnect:
        raise ApiError(400, "The client disconnected before the body was complete.") from None
    except TimeoutError:
        if size > limit:
            raise _too_large(limit) from None
        detail = f"The body did not arrive within {seconds:g} s."
        raise ApiError(408, detail, headers={"Connection": "close"}) from None
    if size > limit:
        raise _too_large(limit)
    return b"".join(chunks)


def check_media_type(request: Request, body: bytes, accepted: tuple[str, ...]) -> str:
    """Return the body's media type; an empty body has the first of the `accepted` types."""
    given = media_type(request)
    if given in accepted:
        return given
    if not body and not given:
        return accepted[0]
    names = " or ".join(accepted)
    raise ApiError(
        415,
        f"Content-Type {given!r} is not supported; send {names}.",
        headers={"Accept-Post": ", ".join(accepted)},
    )


def parse_json(model: type[Body], body: bytes) -> Body:
    """Return the body as `model`, an empty one as `{}`.

    Raises ApiError: 400 if the body is not valid JSON, 422 with JSON pointers if it is invalid.
    """
    body = body.strip() or b"{}"
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        if error.error_count() > MAX_PROBLEMS:
            detail = f"{error.error_count()} fields of the body are invalid."
            raise ApiError(422, detail) from error
        problems = error.errors(include_url=False, include_context=False)
        if problems[0]["type"] == "json_invalid":
            raise ApiError(400, f"Request body is not valid JSON: {problems[0]['msg']}.") from error
        value = from_json(body, allow_inf_nan=True)
    raise invalid([_field_error(one, value) for one in problems])


def decode(body: bytes) -> str:
    """Return the text of a CIF body; raise a 400 if it is not UTF-8."""
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        detail = f"The body is not UTF-8 text: byte {error.start}, line {line}."
        raise invalid([FieldError(detail=detail, line=line)], 400) from error


def _too_large(limit: int) -> ApiError:
    detail = f"The body is larger than {limit} bytes."
    return ApiError(413, detail, headers={"Connection": "close"})


def _field_error(problem: Any, value: Any) -> FieldError:
    path = _path_in(value, problem["loc"], problem["type"] == "missing")
    message = problem["msg"].removeprefix("Value error, ")
    where = f"{path}: " if path else ""
    return FieldError(detail=f"{where}{message}", pointer=path)


def _path_in(value: Any, location: tuple[str | int, ...], missing: bool) -> str:
    """Return the JSON pointer of a location without the union branches that pydantic adds."""
    parts: list[str | int] = []
    for depth, part in enumerate(location):
        inside = (isinstance(value, dict) and part in value) or (
            isinstance(value, list) and isinstance(part, int) and part < len(value)
        )
        if inside:
            value = value[part]
        elif not (missing and depth == len(location) - 1):
            continue
        parts.append(part)
    return pointer(*parts)


def quoted(value: object, limit: int = 60) -> str:
    """Return a value as JSON text for an error message, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= limit else text[: limit - 1] + "…"
