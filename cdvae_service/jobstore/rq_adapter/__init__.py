"""Everything that knows RQ: its formats, its jobs, its workers. No other package imports `rq`."""

from rq.exceptions import DeserializationError, NoSuchJobError
from rq.executions import Execution
from rq.timeouts import JobTimeoutException

from cdvae_service.jobstore.rq_adapter.allowed_job import AllowedJob, ForbiddenJobError
from cdvae_service.jobstore.rq_adapter.job_execution import run_job
from cdvae_service.jobstore.rq_adapter.job_format import (
    call_argument,
    job_fields,
    job_key,
    parse_time,
    queue_key,
)
from cdvae_service.jobstore.rq_adapter.worker_registration import WorkerRegistration

__all__ = [
    "AllowedJob",
    "DeserializationError",
    "Execution",
    "ForbiddenJobError",
    "JobTimeoutException",
    "NoSuchJobError",
    "WorkerRegistration",
    "call_argument",
    "job_fields",
    "job_key",
    "parse_time",
    "queue_key",
    "run_job",
]
