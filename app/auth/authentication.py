"""Who calls, and whether they may: API keys, their rates, and what a browser may not do.

Without any key the service is for this machine alone: only calls under a name of the loopback
interface are answered, so that no web page reaches it by pointing its own name here.
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
BURST_SECONDS = 10  # a key's requests of so many seconds may come at once
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


# Read from the request rather than by FastAPI's security classes: with them it is five
# dependencies, and solving those is a large part of a poll's time.
async def authenticate(request: Request) -> Caller:
    """The caller; 401 without a valid key where one is needed, 403 for a foreign web page."""
    if request.headers.get("sec-fetch-site") in FOREIGN_SITES:
        raise ApiError(403, "Pages of other sites may not use this service.")
    services, token = await get_services(request), _token(request)
    try:
        if token is None and not services.settings.require_keys and not services.keys.keys():
            return _anonymous(request, services)
        key = services.keys.find(token or "")
    except KeyFileError as error:
        raise ApiError(503, "The API keys cannot be read; the log has the reason.") from error
    if key is None:
        given = "The API key is not valid." if token else "An API key is needed."
        detail = f"{given} Send it as `Authorization: Bearer` or `X-API-Key`."
        raise ApiError(401, detail, headers={"WWW-Authenticate": "Bearer"})
    return Caller(key.id, key)


def _token(request: Request) -> str | None:
    """The key as it was sent; a bearer goes first."""
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and credentials.strip():
        return credentials.strip()
    return request.headers.get("x-api-key") or None


def _anonymous(request: Request, services: Services) -> Caller:
    if not services.settings.allow_anonymous and request.url.hostname not in LOOPBACK_NAMES:
        detail = "Without API keys the service answers on this machine only, e.g. to localhost."
        raise ApiError(403, detail)
    return Caller(ANONYMOUS, None)


async def limited(request: Request) -> Caller:
    """The caller, who has not asked too often; else 429. Otherwise raises as `authenticate`."""
    caller = await authenticate(request)
    if caller.key is None:
        return caller
    services = await get_services(request)
    per_minute = caller.key.requests_per_minute
    burst = max(1, per_minute * BURST_SECONDS // 60)
    wait = await services.queue.scripts["admit"](
        args=[f"cdvae:rate:{caller.owner}", 60 / per_minute, burst]
    )
    if wait:
        detail = f"This key may send {per_minute} requests a minute."
        raise ApiError(429, detail, headers={"Retry-After": str(math.ceil(wait / 1000))})
    return caller


LimitedCaller = Annotated[Caller, Depends(limited)]
