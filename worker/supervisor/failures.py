"""Errors of jobs: from an exception to the code and the sentence that the client reads."""

from __future__ import annotations

from cdvae.errors import InfeasibleError, ModelStoreError, NonFiniteSampleError
from cdvae_schema.job_specs import JobError
from cdvae_schema.wire import FIELD_ERROR
from cdvae_service.jobstore.ledger import LOST
from cdvae_service.jobstore.rq_adapter import (
    AllowedJob,
    DeserializationError,
    ForbiddenJobError,
    JobTimeoutException,
)
from cdvae_service.results.result_store import ResultStoreError
from worker.results.job_relaxation import NoPotentialError
from worker.supervisor.exit_status import describe_status


def executor_lost(status: int) -> JobError:
    """Return the error of a job whose executors died. status: exit status of the last one."""
    how = f"{LOST.detail} The last one: {describe_status(status)}."
    return JobError(code=LOST.code, detail=how)


def timed_out(job: AllowedJob) -> JobError:
    """Return the error of a job that exceeded its time limit."""
    return JobError(
        code="timeout",
        detail=f"The job was stopped after its limit of {job.timeout} s. "
        "Ask for fewer crystals or steps.",
    )


def forbidden() -> JobError:
    """Return the error of a job that cannot be read or does not call one of our functions."""
    return JobError(code="forbidden_job", detail="The queue held a job that may not run.")


def explain(error: BaseException | None, job: AllowedJob) -> JobError:
    """Return the client's view of `error`; for an unknown one it only refers to the log."""
    if isinstance(error, JobTimeoutException):
        return timed_out(job)
    if isinstance(error, NonFiniteSampleError):
        crystals = ", ".join(str(index) for index in error.indices[:10])
        return JobError(
            code="non_finite_sample",
            detail=f"The coordinates of {len(error.indices)} crystal(s) became infinite or NaN "
            f"during sampling (number {crystals}). Another seed or more steps may help.",
        )
    if isinstance(error, InfeasibleError):
        return JobError(code="infeasible", detail=f"No crystal meets the constraints. {error}")
    if _out_of_memory(error):
        return JobError(
            code="out_of_memory",
            detail="The device ran out of memory. The job needs a larger device or fewer atoms.",
        )
    if isinstance(error, ModelStoreError):
        return JobError(
            code="model_unavailable", detail="The worker could not load the model of this job."
        )
    if isinstance(error, NoPotentialError):
        return JobError(
            code="no_potential",
            detail="The worker has no interatomic potential to relax the crystals with.",
        )
    if isinstance(error, ForbiddenJobError | DeserializationError):
        return forbidden()
    if isinstance(error, ResultStoreError):
        return JobError(
            code="storage_failed",
            detail="The crystals could not be stored: the disk is full or the store unreachable.",
        )
    return JobError(
        code="internal_error",
        detail="The job failed because of an error in the service; its log has the reason.",
    )


def _out_of_memory(error: BaseException | None) -> bool:
    # torch.OutOfMemoryError is a RuntimeError; the CPU allocator raises a plain one.
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and (
            type(error).__name__ == "OutOfMemoryError"
            or "not enough memory" in str(error)
            or "can't allocate memory" in str(error)
        )
    )


def record_failure(job: AllowedJob, error: BaseException) -> None:
    """Store the client's view of `error` where the front end reads it."""
    job.connection.hset(job.key, FIELD_ERROR, explain(error, job).model_dump_json())
