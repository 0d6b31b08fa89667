"""What happens around every request: its id, its log line, its counters."""

import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.metrics import HttpMetrics

logger = logging.getLogger("app.access")

_ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_CLIENT_LEFT = 499


def request_id(scope: Scope) -> str:
    """The id of the request: the client's `X-Request-ID` where that is harmless, else our own."""
    state: dict[str, object] = scope.setdefault("state", {})
    if "request_id" not in state:
        given = Headers(scope=scope).get("x-request-id", "")
        state["request_id"] = given if _ACCEPTABLE_ID.fullmatch(given) else uuid.uuid4().hex
    return str(state["request_id"])


def _route(scope: Scope) -> str:
    """The template of the matched route, so that ids in paths make no new time series."""
    return str(getattr(scope.get("route"), "path", "unmatched"))


class Observer:
    """Echoes the request id, logs and counts every request."""

    def __init__(self, app: ASGIApp, metrics: HttpMetrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        identity = request_id(scope)
        status = _CLIENT_LEFT
        started = time.perf_counter()

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = identity
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)

        try:
            await self.app(scope, receive, observed)
        except Exception:
            status = 500
            raise
        finally:
            seconds = time.perf_counter() - started
            method = scope["method"] if scope["method"] in _METHODS else "OTHER"
            self.metrics.observe(method, _route(scope), status, seconds)
            logger.info(
                "%s %s %s %.0f ms %s", method, scope["path"], status, 1000 * seconds, identity
            )
