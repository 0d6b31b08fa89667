"""Waiting for a job to change, without asking Redis all the time."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from redis.asyncio import Redis

from app.status import text
from schema.wire import CHANGED_CHANNEL

LISTEN_SECONDS = 1.0


class Changes:
    """Wakes those that wait for a job when a worker or a front end says that it has changed.

    Announcements may be lost, with a restart of Redis for instance: who waits looks again after a
    second or so anyhow.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._bells: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    async def listen(self) -> None:
        """Pass announcements on, for ever; raises RedisError."""
        async with self._redis.pubsub(ignore_subscribe_messages=True) as pubsub:
            await pubsub.subscribe(CHANGED_CHANNEL)
            while True:
                message = await pubsub.get_message(timeout=LISTEN_SECONDS)
                if message is not None:
                    for bell in self._bells.get(text(message["data"]), ()):
                        bell.set()

    @contextmanager
    def watch(self, job_id: str) -> Iterator["Watch"]:
        """What tells of changes of the job from now on."""
        bell = asyncio.Event()
        self._bells[job_id].add(bell)
        try:
            yield Watch(bell)
        finally:
            self._bells[job_id].discard(bell)
            if not self._bells[job_id]:
                del self._bells[job_id]


class Watch:
    """One who waits for one job."""

    def __init__(self, bell: asyncio.Event) -> None:
        self._bell = bell

    async def wait(self, seconds: float) -> None:
        """Return after a change since the last call, or after so many seconds."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._bell.wait(), max(seconds, 0.0))
        self._bell.clear()
