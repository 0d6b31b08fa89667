"""The job queue, and the only user of RQ in the front end.

Jobs go onto RQ as JSON, their function named by string. A worker renews its presence every few
seconds; a job whose worker's presence has run out is handed to RQ's own clean-up as abandoned, so
that nothing stays running for ever.
"""

import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.registry import CanceledJobRegistry, StartedJobRegistry
from rq.serializers import JSONSerializer
from rq.utils import utcparse

from app.status import Constant, QueuedJob, constant_meta, job_state, job_status
from schema.jobs import FINAL_STATES, JOB_ID, JobKind, JobSpec, JobState, JobStatus
from schema.wire import (
    CANCEL_TTL,
    COUNTED_TTL,
    FUNCTIONS,
    META_STATUS,
    PRESENCE_TTL,
    QUEUES,
    WORKERS_KEY,
    WorkerPresence,
    cancel_key,
    counted_key,
    progress_key,
    worker_key,
)

TEND_SECONDS = 2.0
ORPHAN_SECONDS = 60
ORPHAN_MARK_SECONDS = 600


class JobNotFoundError(LookupError):
    """No such job, or not any more."""


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


class JobQueue:
    """Puts jobs on Redis, reads their states, cancels them. Redis trouble raises RedisError.

    on_end: told of every job that ends here rather than in a worker: its kind, model and state.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float,
        job_timeout: int,
        result_ttl: int,
        on_end: Callable[[JobKind, str, JobState], None],
    ) -> None:
        self._redis = Redis.from_url(
            url,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            health_check_interval=30,
            # One repetition: a pooled connection may have been closed by a restarted server.
            retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        )
        self._job_timeout = job_timeout
        self._result_ttl = result_ttl
        self._on_end = on_end
        self._tended_at = float("-inf")
        self._tending = threading.Lock()

    def close(self) -> None:
        """Closes the connections."""
        self._redis.close()

    def ping(self) -> None:
        """Returns if Redis answers."""
        self._redis.ping()

    def submit(self, spec: JobSpec) -> JobStatus:
        """Queues the job and returns its first status."""
        self._queue(spec.priority).enqueue_call(
            FUNCTIONS[spec.kind],
            args=(spec.model_dump(mode="json"),),
            job_id=spec.id,
            timeout=self._job_timeout,
            result_ttl=self._result_ttl,
            failure_ttl=self._result_ttl,
            description=f"{spec.kind} {spec.model}",
            meta=constant_meta(spec),
            unique=True,
        )
        return self.status(spec.id)

    def status(self, job_id: str) -> JobStatus:
        """The job's state now; JobNotFoundError for one that is unknown or has expired."""
        job = self._fetch(job_id)
        if job.get_status(refresh=False) == "started":
            self.tend()
            job = self._fetch(job_id)
        return self._describe(job)

    def cancel(self, job_id: str) -> JobStatus:
        """Cancels a queued job at once and asks a running one to stop; final ones stay as they are.

        Returns the status afterwards; JobNotFoundError as for `status`.
        """
        status = self.status(job_id)
        if status.state in FINAL_STATES:
            return status
        # The wish comes first: a worker that takes the job meanwhile finds it.
        self._redis.set(cancel_key(job_id), "1", ex=CANCEL_TTL)
        job = self._fetch(job_id)
        if job.get_status(refresh=False) == "queued":
            job.meta["finished_at"] = datetime.now(UTC).isoformat()
            job.save_meta()  # type: ignore[no-untyped-call]
            job.cancel()
            # RQ keeps cancelled jobs for ever.
            CanceledJobRegistry(
                job.origin, connection=self._redis, serializer=JSONSerializer
            ).remove(job)
            self._redis.expire(job.key, self._result_ttl)
            self._ended(job, "cancelled")
        return self.status(job_id)

    def depths(self) -> dict[str, int]:
        """Number of waiting jobs by queue, most urgent queue first."""
        return {name: self._queue(name).count for name in QUEUES}

    def oldest(self) -> dict[str, float]:
        """Seconds that the next job of each queue has waited; 0 for an empty queue."""
        ages: dict[str, float] = {}
        for name in QUEUES:
            job_ids = self._queue(name).get_job_ids(0, 1)
            since = self._redis.hget(Job.key_for(job_ids[0]), "enqueued_at") if job_ids else None
            waited = datetime.now(UTC) - utcparse(_text(since)) if since else timedelta()
            ages[name] = max(0.0, waited.total_seconds())
        return ages

    def running(self) -> int:
        """Number of jobs in work."""
        self.tend()
        return sum(self._started(name).get_job_count(cleanup=False) for name in QUEUES)

    def workers(self) -> list[WorkerPresence]:
        """The live workers, by name."""
        names = sorted(_text(name) for name in self._redis.smembers(WORKERS_KEY))
        if not names:
            return []
        found: list[WorkerPresence] = []
        for text in self._redis.mget([worker_key(name) for name in names]):
            try:
                if text is not None:
                    found.append(WorkerPresence.model_validate_json(text))
            except ValidationError:
                continue  # a worker of another version: it cannot serve our jobs either
        return found

    def tend(self) -> None:
        """Fails the jobs whose worker has gone; looks at most every `TEND_SECONDS`."""
        with self._tending:
            if time.monotonic() - self._tended_at < TEND_SECONDS:
                return
            self._tended_at = time.monotonic()
        for name in QUEUES:
            registry = self._started(name)
            ids = registry.get_job_ids()  # RQ's own clean-up comes first
            lost = []
            for job in Job.fetch_many(ids, self._redis, serializer=JSONSerializer):
                if job is not None and self._is_lost(job):
                    keys = [execution.composite_key for execution in job.get_executions()]
                    overdue = dict.fromkeys([*keys, f"{job.id}:lost"], 1)
                    self._redis.zadd(registry.key, overdue)
                    lost.append(job)
            registry.cleanup()
            for job in lost:
                if job.get_status() == "failed":
                    self._ended(job, "failed")

    def _ended(self, job: Job, state: JobState) -> None:
        if self._redis.set(counted_key(job.id), "1", nx=True, ex=COUNTED_TTL):
            constant = Constant.model_validate(job.meta[META_STATUS])
            self._on_end(constant.kind, constant.request.model, state)

    def _is_lost(self, job: Job) -> bool:
        if job.get_status(refresh=False) != "started" or job.worker_name is None:
            return False
        age = (datetime.now(UTC) - job.started_at).total_seconds() if job.started_at else 0.0
        return age > PRESENCE_TTL and not self._redis.exists(worker_key(job.worker_name))

    def _rescue(self, job: Job) -> None:
        """Queues a job again that a dying worker took off its queue but never started.

        A worker needs a moment between the two, so the job must be missing for a minute.
        """
        mark = f"cdvae:orphan:{job.id}"
        now = time.time()
        if self._redis.set(mark, str(now), nx=True, ex=ORPHAN_MARK_SECONDS):
            return
        since = self._redis.get(mark)
        if since is None or now - float(since) < ORPHAN_SECONDS or not self._redis.delete(mark):
            return
        if job.get_status() == "queued" and job.get_position() is None:
            self._queue(job.origin).push_job_id(job.id, at_front=True)

    def _describe(self, job: Job) -> JobStatus:
        state = job_state(job.get_status(refresh=False), job.meta)
        finished, failure, position = job.ended_at, "", None
        if state == "queued":
            position = self._position(job)
            if position is None:
                self._rescue(job)
        elif state == "failed":
            result = job.latest_result()
            if result is not None:
                failure = result.exc_string or ""
                finished = finished or result.created_at
        if finished is None and "finished_at" in job.meta:
            finished = datetime.fromisoformat(job.meta["finished_at"])
        progress = self._redis.hgetall(progress_key(job.id))
        return job_status(
            QueuedJob(
                id=job.id,
                state=state,
                meta=job.meta,
                started_at=job.started_at,
                finished_at=finished,
                failure=failure,
                progress={_text(name): _text(value) for name, value in progress.items()},
                queue_position=position,
                worker_is_live=state != "queued" or bool(self.workers()),
            )
        )

    def _position(self, job: Job) -> int | None:
        """1 for the job that the next free worker takes; None where it is not on its queue."""
        behind = job.get_position()
        if behind is None:
            return None
        more_urgent = QUEUES[: [str(name) for name in QUEUES].index(job.origin)]
        return 1 + behind + sum(self._queue(name).count for name in more_urgent)

    def _fetch(self, job_id: str) -> Job:
        if not re.fullmatch(JOB_ID, job_id):
            raise JobNotFoundError(f"{job_id[:80]!r} is no job id")
        try:
            job = Job.fetch(job_id, connection=self._redis, serializer=JSONSerializer)
        except NoSuchJobError as error:
            raise JobNotFoundError(
                f"no job {job_id!r}; finished jobs are kept for a time"
            ) from error
        if META_STATUS not in job.meta or job.origin not in QUEUES:
            raise JobNotFoundError(f"no job {job_id!r}")
        return job

    def _queue(self, name: str) -> Queue:
        options: dict[str, Any] = {"connection": self._redis, "serializer": JSONSerializer}
        return Queue(name, **options)

    def _started(self, name: str) -> StartedJobRegistry:
        return StartedJobRegistry(name, connection=self._redis, serializer=JSONSerializer)
