"""Who calls, and whether they may: API keys, their rates, and what a browser may not do.

Without any key the service is for this machine alone: only calls under a name of the loopback
interface are answered, so that no web page reaches it by pointing its own name here.
"""

import math
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from app.deps import Parts, Services
from app.errors import ApiError
from app.keys import ApiKey, KeyFileError

ANONYMOUS = "anonymous"
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
BURST_SECONDS = 10  # a key's requests of so many seconds may come at once
FOREIGN_SITES = frozenset({"cross-site", "same-site"})

_bearer = HTTPBearer(auto_error=False, description="`Authorization: Bearer <API key>`")
_header = APIKeyHeader(name="X-API-Key", auto_error=False)


@dataclass(frozen=True)
class Caller:
    """Whose jobs these are; `key` is None where the service runs without keys."""

    owner: str
    key: ApiKey | None

    @property
    def quota(self) -> int:
        """Unfinished jobs that the caller may have; 0: any number."""
        return 0 if self.key is None else self.key.unfinished_jobs


async def authenticate(
    request: Request,
    parts: Parts,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
    header: Annotated[str | None, Security(_header)],
) -> Caller:
    """The caller; 401 without a valid key where one is needed, 403 for a foreign web page."""
    if request.headers.get("sec-fetch-site") in FOREIGN_SITES:
        raise ApiError(403, "Pages of other sites may not use this service.")
    token = bearer.credentials if bearer is not None else header
    try:
        if token is None and not parts.settings.require_keys and not parts.keys.keys():
            return _anonymous(request, parts)
        key = parts.keys.find(token or "")
    except KeyFileError as error:
        raise ApiError(503, "The API keys cannot be read; the log has the reason.") from error
    if key is None:
        given = "The API key is not valid." if token else "An API key is needed."
        detail = f"{given} Send it as `Authorization: Bearer` or `X-API-Key`."
        raise ApiError(401, detail, headers={"WWW-Authenticate": "Bearer"})
    return Caller(key.id, key)


def _anonymous(request: Request, parts: Services) -> Caller:
    if not parts.settings.allow_anonymous and request.url.hostname not in LOOPBACK_NAMES:
        detail = "Without API keys the service answers on this machine only, e.g. to localhost."
        raise ApiError(403, detail)
    return Caller(ANONYMOUS, None)


async def limit_rate(parts: Parts, caller: Annotated[Caller, Depends(authenticate)]) -> Caller:
    """The caller, who has not asked too often; else 429."""
    if caller.key is None:
        return caller
    per_minute = caller.key.requests_per_minute
    burst = max(1, per_minute * BURST_SECONDS // 60)
    wait = await parts.queue.scripts["admit"](
        args=[f"cdvae:rate:{caller.owner}", 60 / per_minute, burst]
    )
    if wait:
        detail = f"This key may send {per_minute} requests a minute."
        raise ApiError(429, detail, headers={"Retry-After": str(math.ceil(wait / 1000))})
    return caller


async def caller_of(request: Request, parts: Services) -> Caller:
    """The caller of a request that a mounted application answers; raises as `LimitedCaller`."""
    caller = await authenticate(request, parts, await _bearer(request), await _header(request))
    return await limit_rate(parts, caller)


Authenticated = Annotated[Caller, Depends(authenticate)]
LimitedCaller = Annotated[Caller, Depends(limit_rate)]
