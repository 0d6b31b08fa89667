"""Checks of Redis and of a service for `cdvae doctor`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2

from cdvae_service.cli.operations.installation_checks import CheckResult, Level, install_hint

TIMEOUT = 5.0  # s


def check_redis(url: str | None) -> Iterator[CheckResult]:
    """Check the Redis server at `url`, or the embedded one without a URL."""
    from cdvae_service.cli.stack.redis_server import RedisServerError, server_binary

    try:
        if not url:
            yield CheckResult("Redis", "ok", f"embedded: {server_binary()}")
            return
        from redis import Redis
        from redis.exceptions import RedisError
    except RedisServerError as error:
        yield CheckResult("Redis", "fault", str(error), install_hint("local"))
        return
    except ImportError as error:
        yield CheckResult("Redis", "fault", f"{error.name} is missing", install_hint("app"))
        return
    try:
        with Redis.from_url(url, socket_timeout=3, socket_connect_timeout=3) as client:
            client.ping()
    except (RedisError, ValueError) as error:
        remedy = "start the server, or unset CDVAE_REDIS_URL to use the embedded one"
        yield CheckResult("Redis", "fault", f"CDVAE_REDIS_URL: {error}", remedy)
    else:
        yield CheckResult("Redis", "ok", "CDVAE_REDIS_URL answers")


def check_server(url: str, key: str | None, expected: bool) -> Iterator[CheckResult]:
    """Check that a service answers, is ready, has workers and accepts the key."""
    base = url.rstrip("/")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with httpx2.Client(headers=headers, timeout=TIMEOUT) as client:
        try:
            ready = client.get(f"{base}/readyz")
            jobs = client.get(f"{base}/jobs", params={"limit": 1})
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            remedy = "start one with `cdvae serve`, or name another with --server or CDVAE_SERVER"
            level: Level = "fault" if expected else "note"
            yield CheckResult("service", level, f"{base}: {error}", remedy)
            return
    state = _body(ready)
    if ready.status_code != 200 or "workers" not in state:
        detail = state.get("detail", f"{base}/readyz returns {ready.status_code}: no CDVAE service")
        yield CheckResult("service", "fault", str(detail), "see its log")
        return
    live = state["workers"]["live"]
    detail = f"{base}: {', '.join(state['models'])}; {live} live workers"
    if live:
        yield CheckResult("service", "ok", detail)
    else:
        yield CheckResult("service", "note", detail, "jobs wait until `cdvae worker` runs")
    if jobs.status_code == 200:
        yield CheckResult("API key", "ok", "accepted" if key else "not required")
    else:
        detail = str(_body(jobs).get("detail", f"{base}/jobs returns {jobs.status_code}"))
        yield CheckResult("API key", "fault", detail, "set CDVAE_API_KEY")


def _body(response: httpx2.Response) -> dict[str, Any]:
    """Return the JSON object of a response; empty where it has none."""
    try:
        content = response.json()
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
