"""The names that the front end and the workers share: queues, functions, Redis keys."""

from typing import Literal

from pydantic import Field

from schema.base import Frozen, Moment
from schema.jobs import JobKind
from schema.requests import Priority

QUEUES: tuple[Priority, ...] = ("interactive", "normal", "bulk")
"""Queue names, most urgent first; a job's queue is its priority."""

FUNCTIONS: dict[JobKind, str] = {
    "generate": "worker.jobs.generate",
    "reconstruct": "worker.jobs.reconstruct",
    "optimize": "worker.jobs.optimize",
}
"""The only functions that may run; each takes one argument, a `JobSpec` as a JSON object."""

META_STATUS = "status"
"""Entry of an RQ job's meta, set by the front end: the constant part of its `JobStatus`."""
META_ERROR = "error"
"""Entry of an RQ job's meta, set by a worker before it fails the job: a `JobError` object."""
META_STATE = "state"
"""Entry of an RQ job's meta, set by a worker whose job returned: `succeeded` or `cancelled`."""

PRESENCE_TTL = 15
"""Seconds after which a worker that stopped renewing its presence counts as dead."""
CANCEL_TTL = 7 * 24 * 3600
"""Seconds that a wish to cancel is kept."""
COUNTED_TTL = 7 * 24 * 3600
"""Seconds for which the end of a job is known to have been counted."""


def progress_key(job_id: str) -> str:
    """Key of the hash with the fields of `JobProgress`, as text; empty `eta_seconds` is null."""
    return f"cdvae:progress:{job_id}"


def cancel_key(job_id: str) -> str:
    """Key that exists once somebody wants the job to stop."""
    return f"cdvae:cancel:{job_id}"


def counted_key(job_id: str) -> str:
    """Key that exists once somebody has counted the job's end, so that nobody does it again."""
    return f"cdvae:counted:{job_id}"


def worker_key(name: str) -> str:
    """Key of a worker's `WorkerPresence` as JSON, kept for `PRESENCE_TTL`; RQ's worker name."""
    return f"cdvae:worker:{name}"


WORKERS_KEY = "cdvae:workers"
"""Set of the names of workers that announced themselves; a name may outlive its worker."""


class WorkerPresence(Frozen):
    """A live worker, as it announces itself every few seconds."""

    name: str
    state: Literal["starting", "idle", "busy"]
    models: list[str] = Field(description="`name@version` of every model in memory.")
    device: str
    hostname: str
    pid: int
    started_at: Moment
