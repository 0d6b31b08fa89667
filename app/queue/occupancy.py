"""A snapshot of the queue: waiting jobs, running jobs, live workers."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from pydantic import ValidationError
from redis.asyncio import Redis

from app.queue.job_status import text
from cdvae_schema.wire import LEASES_KEY, QUEUES, WORKERS_KEY, WorkerPresence, worker_key
from cdvae_service.jobstore.rq_adapter import job_key, parse_time, queue_key


@dataclass(frozen=True)
class Occupancy:
    """Waiting jobs by queue, age in seconds of the next job of each queue (0 for an empty
    queue), running jobs, live workers.
    """

    depths: dict[str, int] = field(default_factory=dict)
    oldest: dict[str, float] = field(default_factory=dict)
    running: int = 0
    workers: list[WorkerPresence] = field(default_factory=list)


async def live_workers(redis: Redis) -> list[WorkerPresence]:
    """Return the live workers, sorted by name. Raises RedisError."""
    names = sorted(map(text, await redis.smembers(WORKERS_KEY)))
    if not names:
        return []
    found: list[WorkerPresence] = []
    for presence in await redis.mget([worker_key(name) for name in names]):
        try:
            if presence is not None:
                found.append(WorkerPresence.model_validate_json(presence))
        except ValidationError:
            continue  # a worker of another version: it cannot run our jobs
    return found


async def occupancy(redis: Redis) -> Occupancy:
    """Return the current state of the queue. Raises RedisError."""
    async with redis.pipeline(transaction=False) as pipeline:
        for name in QUEUES:
            pipeline.llen(queue_key(name))
        for name in QUEUES:
            pipeline.lindex(queue_key(name), 0)
        pipeline.hlen(LEASES_KEY)
        *found, running = await pipeline.execute()
    depths, following = found[: len(QUEUES)], found[len(QUEUES) :]
    ages = [await _waited(redis, job_id) for job_id in following]
    return Occupancy(
        depths=dict(zip(map(str, QUEUES), depths, strict=True)),
        oldest=dict(zip(map(str, QUEUES), ages, strict=True)),
        running=running,
        workers=await live_workers(redis),
    )


async def _waited(redis: Redis, job_id: bytes | None) -> float:
    since = await redis.hget(job_key(text(job_id)), "enqueued_at") if job_id else None
    if not since:
        return 0.0
    return max(0.0, (datetime.now(UTC) - parse_time(text(since))).total_seconds())
