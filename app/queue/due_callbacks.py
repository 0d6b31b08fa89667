"""The callbacks of ended jobs that are due, in Redis."""

import time

from redis.asyncio import Redis

from app.queue.job_status import text
from cdvae_schema.wire import FIELD_CALLBACK, FIELD_CALLBACK_TRIES, FIELD_OWNER, WEBHOOKS_KEY
from cdvae_service.jobstore.ledger import source
from cdvae_service.jobstore.rq_adapter import job_key


class DueCallbacks:
    """The list that the script which ends a job adds it to; every method raises RedisError."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._claim = redis.register_script(source("callback"))

    async def claim(self, seconds: float, number: int) -> list[str]:
        """Return up to `number` due jobs; no other front end gets them for `seconds`."""
        return list(map(text, await self._claim(args=[time.time(), seconds, number])))

    async def target(self, job_id: str) -> tuple[str, str]:
        """Return the URL and the owner of a job; empty if it has expired."""
        url, owner = await self._redis.hmget(job_key(job_id), FIELD_CALLBACK, FIELD_OWNER)
        return text(url or b""), text(owner or b"")

    async def count_failure(self, job_id: str) -> int:
        """Record a failed attempt; return their number."""
        return int(await self._redis.hincrby(job_key(job_id), FIELD_CALLBACK_TRIES, 1))

    async def postpone(self, job_id: str, seconds: float) -> None:
        """Make the callback due in `seconds`."""
        await self._redis.zadd(WEBHOOKS_KEY, {job_id: time.time() + seconds})

    async def remove(self, job_id: str) -> None:
        """Take the callback off the list."""
        await self._redis.zrem(WEBHOOKS_KEY, job_id)
