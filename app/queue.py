"""The job queue as the front end uses it; the only user of RQ here.

A job is RQ's: a hash written as RQ writes it, on one of RQ's lists, its function named by string.
Every change is one script of `backplane.ledger`, one round trip to Redis.
"""

import re
from dataclasses import dataclass, field
from typing import Any, cast

from pydantic import ValidationError
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from rq.job import Job
from rq.serializers import JSONSerializer

from app.status import FIELDS, QueuedJob, job_status, text
from backplane.ledger import now, source
from schema.jobs import JOB_ID, JobSpec, JobStatus
from schema.wire import (
    CANCEL_TTL,
    FIELD_CALLBACK,
    FIELD_OWNER,
    FIELD_REQUEST,
    FIELD_STATUS,
    FIELD_TRACE,
    FUNCTIONS,
    LEASES_KEY,
    QUEUES,
    WORKERS_KEY,
    Constant,
    WorkerPresence,
    idempotency_key,
    worker_key,
)

SCRIPTS = ("submit", "status", "cancel", "admit", "rescue", "callback")


class JobNotFoundError(LookupError):
    """No such job, or not any more, or it is somebody else's."""


class RefusedError(Exception):
    """The job is not taken: `reason` is 'conflict', 'quota' or 'full'."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Origin:
    """Where a job comes from: its owner and how many unfinished jobs (0: any number) that one may
    have, what makes the request unique, and what follows it through the logs.
    """

    owner: str
    quota: int = 0
    key_digest: str = ""
    fingerprint: str = ""
    request_id: str = ""
    trace: str = ""


@dataclass(frozen=True)
class QueueSnapshot:
    """The queue at one moment: waiting jobs by queue, running ones, live workers."""

    depths: dict[str, int] = field(default_factory=dict)
    running: int = 0
    workers: list[WorkerPresence] = field(default_factory=list)


class JobQueue:
    """Puts jobs on Redis, reads their states, cancels them. Redis trouble raises RedisError."""

    def __init__(
        self, url: str, *, timeout: float, job_timeout: int, result_ttl: int, max_queued: int
    ) -> None:
        self.redis = Redis.from_url(
            url,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            health_check_interval=30,
            # One repetition: a pooled connection may have been closed by a restarted server.
            retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        )
        self.scripts = {name: self.redis.register_script(source(name)) for name in SCRIPTS}
        self._job_timeout = job_timeout
        self._result_ttl = result_ttl
        self._max_queued = max_queued

    async def close(self) -> None:
        """Closes the connections."""
        await self.redis.aclose()

    async def ping(self) -> None:
        """Returns if Redis answers."""
        await self.redis.ping()

    async def submit(self, spec: JobSpec, origin: Origin) -> JobStatus:
        """Queues the job, unless its request was seen before, and returns its status.

        Raises RefusedError.
        """
        once = idempotency_key(origin.owner, origin.key_digest) if origin.key_digest else ""
        fields = self._fields(spec, origin)
        reply = await self.scripts["submit"](
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
                *(part for pair in fields.items() for part in pair),
            ]
        )
        outcome, *found = map(text, reply)
        if not found:
            raise RefusedError(outcome)
        return await self.status(found[0], origin.owner)

    def _fields(self, spec: JobSpec, origin: Origin) -> dict[str, Any]:
        """The job as RQ keeps it, with our own fields."""
        job = Job.create(
            FUNCTIONS[spec.kind],
            args=(spec.model_dump(mode="json"),),
            id=spec.id,
            connection=cast(Any, self.redis),  # not used: the job is written by a script
            timeout=self._job_timeout,
            result_ttl=self._result_ttl,
            failure_ttl=self._result_ttl,
            description=f"{spec.kind} {spec.model}",
            origin=spec.priority,
            serializer=JSONSerializer,
        )
        constant = Constant(kind=spec.kind, created_at=spec.created_at, request=spec.request)
        callback = spec.request.callback_url if spec.request.kind == "generate" else None
        ours = {
            FIELD_STATUS: constant.model_dump_json(),
            FIELD_OWNER: origin.owner,
            FIELD_REQUEST: origin.request_id,
            FIELD_TRACE: origin.trace,
            **({FIELD_CALLBACK: callback} if callback else {}),
        }
        return {**job.to_dict(), "status": "queued", "enqueued_at": now()[1], **ours}

    async def status(self, job_id: str, owner: str) -> JobStatus:
        """The job's state now; JobNotFoundError for one that the owner does not have."""
        return self.described(job_id, owner, await self.scripts["status"](args=self.asked(job_id)))

    def asked(self, job_id: str) -> list[str]:
        """The arguments of the script `status`."""
        if not re.fullmatch(JOB_ID, job_id):
            raise JobNotFoundError(f"{job_id[:80]!r} is no job id")
        return [job_id, *FIELDS]

    def described(self, job_id: str, owner: str, reply: Any) -> JobStatus:
        """The status that a reply of the script `status` tells of."""
        job = QueuedJob.of(job_id, reply) if reply else None
        if job is None or job.owner != owner:
            raise JobNotFoundError(f"no job {job_id!r}; finished jobs are kept for a time")
        return job_status(job)

    async def cancel(self, job_id: str, owner: str) -> JobStatus:
        """Cancels a queued job at once and asks a running one to stop; final ones stay as they are.

        Returns the status afterwards; JobNotFoundError as for `status`.
        """
        await self.status(job_id, owner)
        await self.scripts["cancel"](args=[job_id, *now(), CANCEL_TTL])
        return await self.status(job_id, owner)

    async def workers(self) -> list[WorkerPresence]:
        """The live workers, by name."""
        names = sorted(map(text, await self.redis.smembers(WORKERS_KEY)))
        if not names:
            return []
        found: list[WorkerPresence] = []
        for presence in await self.redis.mget([worker_key(name) for name in names]):
            try:
                if presence is not None:
                    found.append(WorkerPresence.model_validate_json(presence))
            except ValidationError:
                continue  # a worker of another version: it cannot serve our jobs either
        return found

    async def snapshot(self) -> QueueSnapshot:
        """The queue now."""
        async with self.redis.pipeline(transaction=False) as pipeline:
            for name in QUEUES:
                pipeline.llen(f"rq:queue:{name}")
            pipeline.hlen(LEASES_KEY)
            *depths, running = await pipeline.execute()
        waiting = dict(zip(map(str, QUEUES), depths, strict=True))
        return QueueSnapshot(waiting, running, await self.workers())
