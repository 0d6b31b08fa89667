"""The ledger of jobs in Redis: Lua scripts, each of which changes a job's place at one moment.

RQ keeps jobs, queues and executions; the scripts add what RQ does not promise: nothing is lost
between a queue and a worker, nothing is run by two, a job of a dead worker is tried once more.
Both `redis.Redis` and `redis.asyncio.Redis` register the same sources.
"""

import time
from datetime import UTC, datetime
from importlib.resources import files

from cdvae_schema import wire
from cdvae_schema.job_specs import JobError

LOST = JobError(
    code="worker_lost",
    detail="The process that ran this job ended unexpectedly, and so did a second one. "
    "Ask for fewer crystals, or submit the job again.",
)
"""Why a job failed whose workers died."""

ENDED = ("over", "failed")
"""What becomes of a leased job that has ended (`resolve` in `lua/common.lua`): its lease ends with
it, so that one caller alone hears this of a job. That one counts it.
"""

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
    """The text of the script `name`, with the constants and functions that it uses."""
    return _prelude() + _text(name)


def now() -> tuple[str, str]:
    """This moment as a score of sorted sets and as RQ writes it."""
    seconds = time.time()
    return f"{seconds:.6f}", datetime.fromtimestamp(seconds, UTC).strftime(_RQ_MOMENT)


class FailureDetector:
    """Who counts as dead: a worker whose presence was missing at every look for `ABSENCE` seconds.

    One look is not enough: presences also vanish, all at once, with a restart of Redis that
    lasted or with a clock that was set forward, and live workers renew them within moments.
    """

    def __init__(self) -> None:
        self._missing: dict[str, float] = {}

    def dead(self, present: dict[str, bool], moment: float) -> list[str]:
        """The dead among the workers; `moment` is of a clock that nobody sets (monotonic)."""
        self._missing = {
            name: self._missing.get(name, moment) for name, seen in present.items() if not seen
        }
        return [n for n, since in self._missing.items() if moment - since >= wire.ABSENCE]
