"""Authenticate callers: API keys, rate limits, and protection against foreign web pages.

Without API keys the service is for this machine only: it answers requests to a name of the
loopback interface, so that no web page reaches it with a host name that resolves here.
"""

import math
from typing import Annotated

from fastapi import Depends, Request

from app.auth.caller import Caller
from app.auth.key_file import KeyFileError
from app.dependencies import Services, get_services
from app.http.problems import ApiError

ANONYMOUS = "anonymous"
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
BURST_SECONDS = 10  # a burst may hold the requests of this many seconds
FOREIGN_SITES = frozenset({"cross-site", "same-site"})

SCHEMES: dict[str, dict[str, str]] = {
    "HTTPBearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "`Authorization: Bearer <API key>`",
    },
    "APIKeyHeader": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
"""The two ways to send a key, for the OpenAPI description."""


# The key is read from the request: FastAPI's security classes add five dependencies, whose
# resolution takes a large part of the time of a poll.
async def authenticate(request: Request) -> Caller:
    """Return the caller; raise a 401 without a required key, 403 for a page of another site."""
    if request.headers.get("sec-fetch-site") in FOREIGN_SITES:
        raise ApiError(403, "Pages of other sites must not use this service.")
    services, token = await get_services(request), _token(request)
    try:
        if token is None and not services.settings.require_keys and not services.keys.keys():
            return _anonymous(request, services)
        key = services.keys.find(token or "")
    except KeyFileError as error:
        raise ApiError(503, "The API keys cannot be read; see the log of the service.") from error
    if key is None:
        given = "The API key is not valid." if token else "An API key is required."
        detail = f"{given} Send it as `Authorization: Bearer` or `X-API-Key`."
        raise ApiError(401, detail, headers={"WWW-Authenticate": "Bearer"})
    return Caller(key.id, key)


def _token(request: Request) -> str | None:
    """Return the key of the request; a bearer token takes precedence."""
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and credentials.strip():
        return credentials.strip()
    return request.headers.get("x-api-key") or None


def _anonymous(request: Request, services: Services) -> Caller:
    if not services.settings.allow_anonymous and request.url.hostname not in LOOPBACK_NAMES:
        detail = (
            "Without API keys the service answers only on this machine, for example at localhost."
        )
        raise ApiError(403, detail)
    return Caller(ANONYMOUS, None)


async def limited(request: Request) -> Caller:
    """Return the caller; raise a 429 above its rate, else the errors of `authenticate`."""
    caller = await authenticate(request)
    if caller.key is None:
        return caller
    services = await get_services(request)
    per_minute = caller.key.requests_per_minute
    burst = max(1, per_minute * BURST_SECONDS // 60)
    wait = await services.queue.admit(caller.owner, 60 / per_minute, burst)
    if wait:
        detail = f"Rate limit exceeded: {per_minute} requests per minute."
        raise ApiError(429, detail, headers={"Retry-After": str(math.ceil(wait / 1000))})
    return caller


LimitedCaller = Annotated[Caller, Depends(limited)]
