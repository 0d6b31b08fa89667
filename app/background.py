"""What an application does beside answering: it looks after jobs of dead workers and callbacks."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable

from redis.exceptions import RedisError

from app.queue.job_queue import JobQueue
from app.queue.job_status import text
from cdvae_schema.wire import LEASES_KEY, WORKERS_KEY, worker_key
from cdvae_service.jobstore.ledger import FailureDetector

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


class OrphanRecovery:
    """Has the jobs of dead workers tried again, or failed where that was done before.

    Workers do the same (`worker/supervisor/orphan_recovery.py`); this one serves where none is
    left.
    """

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._absences = FailureDetector()

    async def run(self) -> None:
        """Look for the dead once; raises RedisError."""
        for name in self._absences.dead(await self._present(), time.monotonic()):
            for job_id, fate in await self._queue.rescue(name):
                log.warning("worker %s is dead; its job %s: %s", name, job_id, fate)

    async def _present(self) -> dict[str, bool]:
        redis = self._queue.redis
        members, holders = await redis.smembers(WORKERS_KEY), await redis.hvals(LEASES_KEY)
        names = sorted({text(name) for name in (*members, *holders)})
        if not names:
            return {}
        presences = await redis.mget([worker_key(name) for name in names])
        return {name: found is not None for name, found in zip(names, presences, strict=True)}
