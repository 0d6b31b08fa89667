"""The ledger of jobs in Redis: Lua scripts, each of which moves a job in one atomic step.

RQ keeps jobs, queues and executions. The scripts add guarantees that RQ does not give: no job is
lost between a queue and a worker, no two workers run one job, and a job of a dead worker is tried
once more. `redis.Redis` and `redis.asyncio.Redis` register the same sources.
"""

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.resources import files

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from cdvae_schema import wire
from cdvae_schema.job_specs import JobError

REDIS_GONE = (RedisConnectionError, RedisTimeoutError)
"""The errors of an outage of Redis."""

LOST = JobError(
    code="worker_lost",
    detail="The process that ran this job ended unexpectedly, and so did a second one. "
    "Ask for fewer crystals, or submit the job again.",
)
"""The error of a job whose workers died."""

ENDED = ("over", "failed")
"""Answers of `resolve` in `lua/common.lua` for a job that has ended. The lease ends with the job,
so exactly one caller gets such an answer for a job, and counts it.
"""


class LeaseLostError(Exception):
    """Another worker has the job now, because this one was taken for dead."""


_CONSTANTS = (
    "FIELD_ATTEMPTS",
    "FIELD_CALLBACK",
    "FIELD_ERROR",
    "FIELD_STATE",
    "LEASES_KEY",
    "PASSED_KEY",
    "WEBHOOKS_KEY",
    "WORKERS_KEY",
    "QUEUED_CHANNEL",
    "MAX_LOST",
    "PATIENCE",
)
_PREFIXES = {
    "ACTIVE_PREFIX": wire.active_key(""),
    "CANCEL_PREFIX": wire.cancel_key(""),
    "CHANGED_PREFIX": wire.changed_channel(""),
    "JOBS_PREFIX": wire.jobs_key(""),
    "PROGRESS_PREFIX": wire.progress_key(""),
    "WORKER_PREFIX": wire.worker_key(""),
}
_RQ_MOMENT = "%Y-%m-%dT%H:%M:%S.%fZ"


def _lua(value: object) -> str:
    if isinstance(value, tuple):
        return "{" + ", ".join(map(_lua, value)) + "}"
    return repr(value)


def _prelude() -> str:
    values = {name: getattr(wire, name) for name in (*_CONSTANTS, "QUEUES")} | _PREFIXES
    lines = [f"local {name} = {_lua(value)}" for name, value in values.items()]
    return "\n".join(lines) + "\n" + _text("common")


def _text(name: str) -> str:
    return files("cdvae_service.jobstore").joinpath(f"lua/{name}.lua").read_text(encoding="utf-8")


def source(name: str) -> str:
    """Return the text of the script `name`, with the constants and functions that it uses."""
    return _prelude() + _text(name)


def now() -> tuple[str, str]:
    """Return the current time as a score of sorted sets and as RQ writes it."""
    seconds = time.time()
    return f"{seconds:.6f}", datetime.fromtimestamp(seconds, UTC).strftime(_RQ_MOMENT)


def pairs(reply: Iterable[bytes]) -> list[tuple[str, str]]:
    """Return the pairs of texts in the flat reply of a script."""
    texts = [item.decode() for item in reply]
    return list(zip(texts[::2], texts[1::2], strict=True))
