"""What happens around every request: its id, its log line, its counters, its security headers."""

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.concurrency import UNLIMITED_PATHS
from app.http.request_id import request_id
from app.metrics.request_metrics import HttpMetrics
from cdvae_service.telemetry.logs import request_in_logs

logger = logging.getLogger("app.access")

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_CLIENT_LEFT = 499
_POLICY = b"content-security-policy"
_PAGE = (
    b"default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
    b"object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_DATA = b"default-src 'none'; frame-ancestors 'none'"
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


def _route(scope: Scope) -> str:
    """The template of the matched route, so that ids in paths make no new time series."""
    return str(getattr(scope.get("route"), "path", "unmatched"))


def _secured(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """With what keeps a browser from doing more with an answer than it is for."""
    present = dict(headers)
    is_page = present.get(b"content-type", b"").startswith(b"text/html")
    wanted = (*_HEADERS, (_POLICY, _PAGE if is_page else _DATA))
    return [*headers, *(header for header in wanted if header[0] not in present)]


class Observer:
    """Echoes the request id, logs and counts every request; FastAPI itself traces it."""

    def __init__(self, app: ASGIApp, metrics: HttpMetrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        identity = request_id(scope)
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        status = _CLIENT_LEFT
        started = time.perf_counter()

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message["headers"], (b"x-request-id", identity.encode())]
                message = {**message, "headers": _secured(headers)}
            await send(message)

        with request_in_logs(identity):
            try:
                await self.app(scope, receive, observed)
            except Exception:
                status = 500
                raise
            finally:
                seconds = time.perf_counter() - started
                route = _route(scope)
                self.metrics.observe(method, route, status, seconds)
                level = logging.DEBUG if scope["path"] in UNLIMITED_PATHS else logging.INFO
                logger.log(level, "%s %s %s %.0f ms", method, scope["path"], status, 1000 * seconds)
