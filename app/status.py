"""From what Redis holds of a job to the `JobStatus` that its client reads; pure functions."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from schema.base import Frozen, Moment
from schema.jobs import (
    FINAL_STATES,
    JobError,
    JobKind,
    JobLinks,
    JobProgress,
    JobSpec,
    JobState,
    JobStatus,
    Understood,
)
from schema.wire import META_ERROR, META_STATE, META_STATUS

WAITING = "waiting for a worker"
NO_WORKER = "waiting: no worker is live"

LOST_MARKS = ("AbandonedJobError", "Work-horse terminated", "stuck in intermediate queue")
TIMEOUT_MARK = "JobTimeoutException"


class Constant(Frozen):
    """The part of a job's status that never changes, kept in the RQ job's meta."""

    kind: JobKind
    created_at: Moment
    request: Understood


@dataclass(frozen=True)
class QueuedJob:
    """What the queue knows of one job."""

    id: str
    state: JobState
    meta: Mapping[str, Any]
    started_at: datetime | None
    finished_at: datetime | None
    failure: str  # RQ's account of a failure; empty without one
    progress: Mapping[str, str]
    queue_position: int | None
    worker_is_live: bool


def constant_meta(spec: JobSpec) -> dict[str, Any]:
    """The meta with which a job is queued."""
    constant = Constant(kind=spec.kind, created_at=spec.created_at, request=spec.request)
    return {META_STATUS: constant.model_dump(mode="json")}


def job_state(rq_status: str, meta: Mapping[str, Any]) -> JobState:
    """The state that a client sees; RQ says 'finished' for whatever returned."""
    if rq_status == "finished":
        return "cancelled" if meta.get(META_STATE) == "cancelled" else "succeeded"
    if rq_status in ("canceled", "stopped"):
        return "cancelled"
    if rq_status == "failed":
        return "failed"
    return "running" if rq_status == "started" else "queued"


def job_status(job: QueuedJob) -> JobStatus:
    """The job as its client sees it."""
    constant = Constant.model_validate(job.meta[META_STATUS])
    has_result = job.state in ("succeeded", "cancelled")
    return JobStatus(
        id=job.id,
        kind=constant.kind,
        state=job.state,
        created_at=constant.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at if job.state in FINAL_STATES else None,
        progress=_progress(job, constant.request.num_samples),
        queue_position=job.queue_position if job.state == "queued" else None,
        error=_error(job) if job.state == "failed" else None,
        links=JobLinks(
            self=f"/jobs/{job.id}",
            result=f"/jobs/{job.id}/result" if has_result else None,
            events=None,
        ),
        request=constant.request,
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
        return JobError.model_validate(job.meta.get(META_ERROR))
    except ValidationError:
        pass
    if any(mark in job.failure for mark in LOST_MARKS):
        return JobError(
            code="worker_lost",
            detail="The worker that ran the job stopped unexpectedly; submit the job again.",
        )
    if TIMEOUT_MARK in job.failure:
        return JobError(code="timeout", detail="The job ran longer than a job may.")
    return JobError(
        code="internal_error", detail="The worker failed; its log has the reason under the job id."
    )
