"""The names that the front end and the workers share: queues, functions, Redis keys."""

from typing import Literal

from pydantic import Field

from cdvae_schema.base import StrictModel, Timestamp
from cdvae_schema.job_specs import JobKind, Resolved
from cdvae_schema.requests import Priority

QUEUES: tuple[Priority, ...] = ("interactive", "normal", "bulk")
"""Queue names, most urgent first; a job's queue is its priority."""

FUNCTIONS: dict[JobKind, str] = {
    "generate": "worker.executor.job_functions.generate",
    "reconstruct": "worker.executor.job_functions.reconstruct",
    "optimize": "worker.executor.job_functions.optimize",
    "interpolate": "worker.executor.job_functions.interpolate",
    "vary": "worker.executor.job_functions.vary",
}
"""The only functions that may run; each takes one argument, a `JobSpec` as a JSON object."""

FIELD_STATUS = "cdvae:status"
"""Field of a job's Redis hash: the constant part of its `JobStatus`, a `JobDescriptor` as JSON."""
FIELD_OWNER = "cdvae:owner"
"""Field of a job's Redis hash: who submitted it and may see it."""
FIELD_STATE = "cdvae:state"
"""Field of a job's Redis hash, set before a job returns: `succeeded` or `cancelled`."""
FIELD_ERROR = "cdvae:error"
"""Field of a job's Redis hash, set before a job fails: a `JobError` as JSON."""
FIELD_ATTEMPTS = "cdvae:attempts"
"""Field of a job's Redis hash: how many processes were lost while they ran it."""
FIELD_CALLBACK = "cdvae:callback"
"""Field of a job's Redis hash: the URL that is told of the end; absent without one."""
FIELD_CALLBACK_TRIES = "cdvae:callback_tries"
"""Field of a job's Redis hash: how often that failed."""
FIELD_REQUEST = "cdvae:request"
"""Field of a job's Redis hash: the id of the HTTP request that it came with."""
FIELD_TRACE = "cdvae:trace"
"""Field of a job's Redis hash: the W3C trace context of that request; may be empty."""

LEASES_KEY = "cdvae:leases"
"""Hash from a job to the worker that has it, from the moment it leaves its queue to its end."""
PASSED_KEY = "cdvae:passed"
"""Hash from a queue to how often more urgent queues were served while jobs waited on it."""
WEBHOOKS_KEY = "cdvae:webhooks"
"""Sorted set of the jobs whose callback is due, by the time of the next try."""
QUEUED_CHANNEL = "cdvae:queued"
"""Channel on which every job that joins a queue is announced."""

MAX_LOST = 1
"""Processes that may be lost with a job before it fails: it is tried once more."""
PATIENCE = 8
"""Jobs of more urgent queues that are taken before one that waits on a less urgent one."""
PRESENCE_TTL = 7
"""Seconds after which the presence of a worker that stopped renewing it runs out."""
ABSENCE = 4
"""Seconds that a presence must be seen missing before the worker counts as dead."""
CANCEL_TTL = 7 * 24 * 3600
"""Seconds that a wish to cancel is kept."""


def progress_key(job_id: str) -> str:
    """Key of the hash with the fields of `JobProgress`, as text; empty `eta_seconds` is null."""
    return f"cdvae:progress:{job_id}"


def changed_channel(job_id: str) -> str:
    """Channel on which something is published whenever the job's status has changed."""
    return f"cdvae:changed:{job_id}"


def cancel_key(job_id: str) -> str:
    """Key that exists once somebody wants the job to stop."""
    return f"cdvae:cancel:{job_id}"


def worker_key(name: str) -> str:
    """Key of a worker's `WorkerPresence` as JSON, kept for `PRESENCE_TTL`; RQ's worker name."""
    return f"cdvae:worker:{name}"


def jobs_key(owner: str) -> str:
    """Key of the sorted set of an owner's jobs, by the time of their submission."""
    return f"cdvae:jobs:{owner}"


def active_key(owner: str) -> str:
    """Key of the set of an owner's jobs that may be unfinished; ended ones leave it late."""
    return f"cdvae:active:{owner}"


def idempotency_key(owner: str, digest: str) -> str:
    """Key of the hash with the job that an owner submitted under an idempotency key."""
    return f"cdvae:once:{owner}:{digest}"


WORKERS_KEY = "cdvae:workers"
"""Set of the names of workers that announced themselves; a name may outlive its worker."""


class WorkerPresence(StrictModel):
    """A live worker, as it announces itself every few seconds."""

    name: str
    state: Literal["starting", "idle", "busy"]
    models: list[str] = Field(description="`name@version` of every model in memory.")
    device: str
    hostname: str
    pid: int
    started_at: Timestamp
    relax: bool = Field(default=False, description="Whether it can relax crystals.")


class JobDescriptor(StrictModel):
    """The part of a job's status that never changes."""

    kind: JobKind
    created_at: Timestamp
    request: Resolved
