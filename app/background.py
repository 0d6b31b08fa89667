"""Background tasks of the front end: jobs of dead workers, webhooks."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from redis.exceptions import RedisError

from app.queue.job_queue import JobQueue
from cdvae_service.jobstore.orphan_recovery import OrphanRecovery

log = logging.getLogger(__name__)

END_SECONDS = 0.5


async def keep_doing(what: Callable[[], Awaitable[None]], every: float) -> None:
    """Call `what` again and again; an outage of Redis is no reason to stop."""
    while True:
        try:
            await what()
        except RedisError as error:
            log.warning("waiting for Redis: %s", error)
        except Exception:
            log.exception("a background task failed; it goes on")
        await asyncio.sleep(every)


async def end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel the tasks and return when they have ended.

    Once is not enough: the Redis client may take a cancellation for the end of its own time limit.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=END_SECONDS)


async def recover_orphans(queue: JobQueue, recovery: OrphanRecovery) -> None:
    """Return or fail the jobs of dead workers; raises RedisError.

    Workers do the same; front ends do it for the case that no worker is left.
    """
    for name in recovery.dead(await queue.presences()):
        for job_id in recovery.ended(name, await queue.rescue(name)):
            await queue.count(job_id)
