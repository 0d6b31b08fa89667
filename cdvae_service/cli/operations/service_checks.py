"""Whether Redis and a service can be reached, for `cdvae doctor`."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

from cdvae_service.cli.operations.installation_checks import Finding, Level, install_hint


def check_redis(url: str | None) -> Iterator[Finding]:
    """The Redis of CDVAE_REDIS_URL, or the embedded one."""
    from cdvae_service.cli.stack.redis_server import RedisServerError, server_binary

    if not url:
        try:
            yield Finding("Redis", "ok", f"embedded: {server_binary()}")
        except RedisServerError as error:
            yield Finding("Redis", "fault", str(error), install_hint("local"))
        return
    try:
        from redis import Redis
        from redis.exceptions import RedisError
    except ImportError as error:
        yield Finding("Redis", "fault", f"{error.name} is missing", install_hint("app"))
        return
    try:
        with Redis.from_url(url, socket_timeout=3, socket_connect_timeout=3) as client:
            client.ping()
    except (RedisError, ValueError) as error:
        remedy = "start it, or unset CDVAE_REDIS_URL for an embedded one"
        yield Finding("Redis", "fault", f"CDVAE_REDIS_URL: {error}", remedy)
    else:
        yield Finding("Redis", "ok", "CDVAE_REDIS_URL answers")


def check_server(url: str, key: str | None, expected: bool) -> Iterator[Finding]:
    """A service: whether it is there, ready, has workers, and takes the key."""
    base = url.rstrip("/")
    try:
        status, body = _get(f"{base}/readyz", None)
    except OSError as error:
        reason = getattr(error, "reason", error)
        remedy = "`cdvae serve` starts one here; --server or CDVAE_SERVER names another"
        yield Finding("service", "fault" if expected else "note", f"{base}: {reason}", remedy)
        return
    if status != 200 or "workers" not in body:
        detail = str(body.get("detail", f"{base}/readyz answers {status}: is this our service?"))
        yield Finding("service", "fault", detail, "its log has the reason")
        return
    live = body["workers"]["live"]
    detail = f"{base}: {', '.join(body['models'])}; {live} live workers"
    level: Level = "ok" if live else "note"
    yield Finding("service", level, detail, "" if live else "jobs wait until `cdvae worker` runs")
    if unseen := body["workers"].get("without_metrics"):
        remedy = "free the port that the worker's log names, or set CDVAE_WORKER_METRICS_PORT"
        yield Finding("worker metrics", "note", f"off in {unseen} of {live} workers", remedy)
    status, body = _get(f"{base}/jobs?limit=1", key)
    if status == 200:
        yield Finding("API key", "ok", "accepted" if key else "none is needed")
    else:
        detail = str(body.get("detail", f"{base}/jobs answers {status}"))
        yield Finding("API key", "fault", detail, "set CDVAE_API_KEY")


def _get(url: str, key: str | None) -> tuple[int, dict[str, Any]]:
    """Status and JSON body of an answer; OSError without one."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as ok:
            return ok.status, json.load(ok)
    except urllib.error.HTTPError as error:
        with error:
            try:
                return error.code, json.load(error)
            except ValueError:
                return error.code, {}
