"""The job queue of the front end.

A job is stored in RQ's format (`cdvae_service.jobstore.rq_adapter`). Every change is one script of
`cdvae_service.jobstore.ledger`, in one round trip to Redis.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from app.queue.due_callbacks import DueCallbacks
from app.queue.job_notifier import JobNotifier
from app.queue.job_status import FIELDS, QueuedJob, job_status, text
from app.queue.occupancy import Occupancy, live_workers, occupancy
from cdvae_schema.job_specs import JOB_ID, JobKind, JobSpec, JobState, JobStatus
from cdvae_schema.wire import (
    CANCEL_TTL,
    FIELD_CALLBACK,
    FIELD_OWNER,
    FIELD_REQUEST,
    FIELD_STATUS,
    FIELD_TRACE,
    FUNCTIONS,
    JobDescriptor,
    WorkerPresence,
    idempotency_key,
    jobs_key,
)
from cdvae_service.jobstore.ledger import LOST, now, pairs, source
from cdvae_service.jobstore.rq_adapter import call_argument, job_fields, job_key

SCRIPTS = ("submit", "status", "cancel", "admit", "presences", "rescue")


class JobNotFoundError(LookupError):
    """The job does not exist, has expired, or belongs to another owner."""


class RejectedJobError(Exception):
    """The job is not taken: `reason` is 'conflict', 'quota' or 'full'."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Origin:
    """The request behind a job.

    quota: unfinished jobs that the owner may have, 0 for any number; key_digest, fingerprint:
    identify a repeated request; request_id, trace: connect the log lines of all processes.
    """

    owner: str
    quota: int = 0
    key_digest: str = ""
    fingerprint: str = ""
    request_id: str = ""
    trace: str = ""


class JobQueue:
    """Queue jobs in Redis, read their states and cancel them; every method may raise RedisError.

    on_end: called with kind, model and state of each job that ends here instead of in a worker.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float,
        job_timeout: int,
        result_ttl: int,
        max_queued: int,
        on_end: Callable[[JobKind, str, JobState], None],
    ) -> None:
        self._redis = Redis.from_url(
            url,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            health_check_interval=30,
            driver_info=None,  # otherwise each new connection looks the version up on disk
            # Retry once: a restarted server may have closed a pooled connection.
            retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        )
        self._scripts = {name: self._redis.register_script(source(name)) for name in SCRIPTS}
        self.callbacks = DueCallbacks(self._redis)
        self._job_timeout = job_timeout
        self._result_ttl = result_ttl
        self._max_queued = max_queued
        self._on_end = on_end

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def ping(self) -> None:
        """Return if Redis answers."""
        await self._redis.ping()

    async def submit(self, spec: JobSpec, origin: Origin) -> JobStatus:
        """Queue the job and return its status; a repeated request returns its first job.

        Raises RejectedJobError.
        """
        once = idempotency_key(origin.owner, origin.key_digest) if origin.key_digest else ""
        fields = self._fields(spec, origin)
        reply = await self._scripts["submit"](
            args=[
                spec.id,
                spec.priority,
                origin.owner,
                now()[0],
                self._max_queued,
                origin.quota,
                once,
                origin.fingerprint,
                self._result_ttl,
                len(FIELDS),
                *FIELDS,
                *(part for pair in fields.items() for part in pair),
            ]
        )
        outcome, *found = reply
        if not found:
            raise RejectedJobError(text(outcome))
        job_id, view = found
        return self._described(text(job_id), origin.owner, view)

    def _fields(self, spec: JobSpec, origin: Origin) -> dict[str, Any]:
        """Return the job's fields in Redis: those of RQ and ours."""
        fields = job_fields(
            spec.id,
            FUNCTIONS[spec.kind],
            spec.model_dump(mode="json"),
            queue=spec.priority,
            timeout=self._job_timeout,
            result_ttl=self._result_ttl,
            description=f"{spec.kind} {spec.model}",
            enqueued_at=now()[1],
        )
        descriptor = JobDescriptor(kind=spec.kind, created_at=spec.created_at, request=spec.request)
        callback = spec.request.callback_url if spec.request.kind == "generate" else None
        ours = {
            FIELD_STATUS: descriptor.model_dump_json(),
            FIELD_OWNER: origin.owner,
            FIELD_REQUEST: origin.request_id,
            FIELD_TRACE: origin.trace,
            **({FIELD_CALLBACK: callback} if callback else {}),
        }
        return {**fields, **ours}

    async def status(self, job_id: str, owner: str) -> JobStatus:
        """Return the status of the owner's job; raises JobNotFoundError."""
        return self._described(
            job_id, owner, await self._scripts["status"](args=self._asked(job_id))
        )

    def _asked(self, job_id: str) -> list[str]:
        """Return the arguments of the script `status`."""
        if not re.fullmatch(JOB_ID, job_id):
            raise JobNotFoundError(f"{job_id[:80]!r} is not a job id")
        return [job_id, *FIELDS]

    def _described(self, job_id: str, owner: str, reply: Any) -> JobStatus:
        """Return the status in a reply of the script `status` or `submit`."""
        job = QueuedJob.of(job_id, reply) if reply else None
        if job is None or job.owner != owner:
            raise JobNotFoundError(f"no job {job_id!r}; finished jobs are kept for a time")
        return job_status(job)

    async def stored_spec(self, job_id: str) -> JobSpec:
        """Return the specification that the worker gets; JobNotFoundError once it has expired."""
        data: Any = await self._redis.hget(job_key(job_id), "data")
        if data is None:
            raise JobNotFoundError(f"no job {job_id!r}; finished jobs are kept for a time")
        return JobSpec.model_validate(call_argument(data))

    async def cancel(self, job_id: str, owner: str) -> JobStatus:
        """Cancel a queued job, or ask a running one to stop; a final job does not change.

        Returns the new status; raises JobNotFoundError.
        """
        job = await self.status(job_id, owner)
        if await self._scripts["cancel"](args=[job_id, *now(), CANCEL_TTL]):
            self._on_end(job.kind, job.request.model, "cancelled")
        return await self.status(job_id, owner)

    async def statuses(self, job_ids: Sequence[str], owner: str) -> list[JobStatus | None]:
        """Return the states of jobs in one round trip; None for one that `status` does not find."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            for job_id in job_ids:
                await self._scripts["status"](args=self._asked(job_id), client=pipeline)
            replies = await pipeline.execute()
        found: list[JobStatus | None] = []
        for job_id, reply in zip(job_ids, replies, strict=True):
            try:
                found.append(self._described(job_id, owner, reply))
            except JobNotFoundError:
                found.append(None)
        return found

    async def jobs_of(
        self, owner: str, until: float = math.inf, number: int = -1
    ) -> list[tuple[float, str]]:
        """Return times of submission and ids of an owner's jobs, newest first, some expired.

        until: the latest time of submission. number: the most jobs to return, -1: all.
        """
        rows: Any = await self._redis.zrevrangebyscore(
            jobs_key(owner), until, "-inf", start=0, num=number, withscores=True
        )
        return [(float(moment), text(job_id)) for job_id, moment in rows]

    async def admit(self, owner: str, seconds_each: float, burst: int) -> int:
        """Count a request against the owner's rate; return 0, or the time to wait in ms."""
        key = f"cdvae:rate:{owner}"
        return int(await self._scripts["admit"](args=[key, seconds_each, burst]))

    async def live_workers(self) -> list[WorkerPresence]:
        """Return the live workers, sorted by name."""
        return await live_workers(self._redis)

    async def occupancy(self) -> Occupancy:
        """Return the lengths and ages of the queues, and the workers."""
        return await occupancy(self._redis)

    def notifier(self) -> JobNotifier:
        """Return a notifier of changes on the connections of this queue."""
        return JobNotifier(self._redis)

    async def presences(self) -> list[bytes]:
        """Return the reply of the script `presences`, for `OrphanRecovery`."""
        return list(await self._scripts["presences"]())

    async def rescue(self, dead: str) -> list[tuple[str, str]]:
        """Return the jobs that the dead worker had, and what became of each."""
        return pairs(await self._scripts["rescue"](args=[dead, LOST.model_dump_json(), *now()]))

    async def count(self, job_id: str) -> None:
        """Report a job that ended here to `on_end`."""
        reply = await self._scripts["status"](args=[job_id, *FIELDS])
        job = QueuedJob.of(job_id, reply) if reply else None
        if job is not None:
            self._on_end(job.descriptor.kind, job.descriptor.request.model, job.state)
