"""The callbacks of ended jobs that are due, in Redis."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from redis.asyncio import Redis

from app.queue.job_status import text
from cdvae_schema.wire import FIELD_CALLBACK, FIELD_CALLBACK_TRIES, FIELD_OWNER, WEBHOOKS_KEY
from cdvae_service.jobstore.ledger import source
from cdvae_service.jobstore.rq_adapter import job_key


@dataclass(frozen=True)
class DueCallback:
    """The callback of a job; URL and owner are empty if the job has expired."""

    job_id: str
    url: str
    owner: str


class DueCallbacks:
    """The list that the script which ends a job adds it to; every method raises RedisError."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._claim = redis.register_script(source("callback"))

    async def claim(self, seconds: float, number: int) -> list[DueCallback]:
        """Return up to `number` due callbacks; no other front end gets them for `seconds`."""
        job_ids = list(map(text, await self._claim(args=[time.time(), seconds, number])))
        fields = self._redis.pipeline(transaction=False)
        for job_id in job_ids:
            fields.hmget(job_key(job_id), FIELD_CALLBACK, FIELD_OWNER)
        return [
            DueCallback(job_id, text(url or b""), text(owner or b""))
            for job_id, (url, owner) in zip(job_ids, await fields.execute(), strict=True)
        ]

    async def count_failure(self, job_id: str) -> int:
        """Record a failed attempt; return their number."""
        return int(await self._redis.hincrby(job_key(job_id), FIELD_CALLBACK_TRIES, 1))

    async def postpone(self, job_ids: Sequence[str], seconds: float) -> None:
        """Make the callbacks of these jobs due in `seconds`."""
        await self._redis.zadd(WEBHOOKS_KEY, dict.fromkeys(job_ids, time.time() + seconds))

    async def remove(self, job_id: str) -> None:
        """Take the callback off the list."""
        await self._redis.zrem(WEBHOOKS_KEY, job_id)
