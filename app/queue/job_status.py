"""From what Redis holds of a job to the `JobStatus` that its client reads; pure functions."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from cdvae_schema.job_specs import (
    FINAL_STATES,
    JobError,
    JobLinks,
    JobProgress,
    JobState,
    JobStatus,
)
from cdvae_schema.wire import FIELD_ERROR, FIELD_OWNER, FIELD_STATE, FIELD_STATUS, JobDescriptor

WAITING = "waiting for a worker"
NO_WORKER = "waiting: no worker is live"

FIELDS = (
    "status",
    FIELD_STATUS,
    FIELD_OWNER,
    FIELD_STATE,
    FIELD_ERROR,
    "started_at",
    "ended_at",
)
"""The fields of a job's hash that its status is made of."""


def text(value: bytes | str) -> str:
    """What Redis answered, as text."""
    return value.decode() if isinstance(value, bytes) else value


@dataclass(frozen=True)
class QueuedJob:
    """What the queue knows of one job."""

    id: str
    owner: str
    state: JobState
    descriptor: JobDescriptor
    error: str  # JobError as JSON; empty without one
    started_at: datetime | None
    finished_at: datetime | None
    progress: Mapping[str, str]
    queue_position: int | None
    worker_is_live: bool

    @classmethod
    def of(cls, job_id: str, reply: Any) -> "QueuedJob | None":
        """The job that the script `status` answered with; None for one that is not ours."""
        values, progress, position, live = reply
        status, descriptor, owner, state, error, started, ended = (text(v or b"") for v in values)
        if not descriptor:
            return None
        flat = [text(item) for item in progress]
        return cls(
            id=job_id,
            owner=owner,
            state=job_state(status, state),
            descriptor=JobDescriptor.model_validate_json(descriptor),
            error=error,
            started_at=datetime.fromisoformat(started) if started else None,
            finished_at=datetime.fromisoformat(ended) if ended else None,
            progress=dict(zip(flat[::2], flat[1::2], strict=True)),
            queue_position=position or None,
            worker_is_live=bool(live),
        )


def job_state(rq_status: str, outcome: str) -> JobState:
    """The state that a client sees; RQ says 'finished' for whatever returned."""
    if rq_status == "finished":
        return "cancelled" if outcome == "cancelled" else "succeeded"
    if rq_status in ("canceled", "stopped"):
        return "cancelled"
    if rq_status == "failed":
        return "failed"
    return "running" if rq_status == "started" else "queued"


def job_status(job: QueuedJob) -> JobStatus:
    """The job as its client sees it."""
    has_result = job.state in ("succeeded", "cancelled")
    return JobStatus(
        id=job.id,
        kind=job.descriptor.kind,
        state=job.state,
        created_at=job.descriptor.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at if job.state in FINAL_STATES else None,
        progress=_progress(job, job.descriptor.request.num_samples),
        queue_position=job.queue_position if job.state == "queued" else None,
        error=_error(job) if job.state == "failed" else None,
        links=JobLinks(
            self=f"/jobs/{job.id}",
            result=f"/jobs/{job.id}/result" if has_result else None,
            events=f"/jobs/{job.id}/events",
        ),
        request=job.descriptor.request,
    )


def _progress(job: QueuedJob, total: int) -> JobProgress:
    if job.state == "queued":
        stage = WAITING if job.worker_is_live else NO_WORKER
        return JobProgress(
            fraction=0, stage=stage, samples_done=0, samples_total=total, eta_seconds=None
        )
    if job.state == "succeeded":
        return JobProgress(
            fraction=1, stage="done", samples_done=total, samples_total=total, eta_seconds=0
        )
    done = min(int(_number(job.progress, "samples_done") or 0), total)
    fraction = min(_number(job.progress, "fraction") or 0.0, 1.0)
    running = job.state == "running"
    stage = job.progress.get("stage") or "starting"
    return JobProgress(
        fraction=fraction,
        stage=stage if running else job.state,
        samples_done=done,
        samples_total=total,
        eta_seconds=_number(job.progress, "eta_seconds") if running else None,
    )


def _number(fields: Mapping[str, str], name: str) -> float | None:
    """A finite, non-negative number; None for anything else."""
    try:
        value = float(fields.get(name) or "nan")
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _error(job: QueuedJob) -> JobError:
    try:
        return JobError.model_validate_json(job.error)
    except ValidationError:
        return JobError(
            code="internal_error",
            detail="The worker failed; its log has the reason under the job id.",
        )
