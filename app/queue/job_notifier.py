"""Waiting for a job to change, without asking Redis all the time."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from app.queue.job_status import text
from cdvae_schema.wire import changed_channel

LISTEN_SECONDS = 1.0
NOTHING = changed_channel("")  # a subscription to no channel at all is over


class Changes:
    """Wakes those that wait for a job when a worker or a front end says that it has changed.

    Redis is asked for the news of those jobs alone: with two hundred others a second, reading of
    all of them would be a tenth of the front end's work.

    Announcements may be lost, with a restart of Redis for instance: who waits looks again after a
    second or so anyhow.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._pubsub: PubSub | None = None
        self._bells: defaultdict[str, set[asyncio.Event]] = defaultdict(set)  # by channel
        self._left: set[str] = set()  # channels that the last one may have stopped watching

    async def listen(self) -> None:
        """Pass announcements on, for ever; raises RedisError."""
        async with self._redis.pubsub(ignore_subscribe_messages=True) as pubsub:
            subscribed = {NOTHING, *self._bells}
            await pubsub.subscribe(*subscribed)
            self._pubsub = pubsub  # from now on a watch subscribes itself
            try:
                if new := [channel for channel in self._bells if channel not in subscribed]:
                    await pubsub.subscribe(*new)
                while True:
                    message = await pubsub.get_message(timeout=LISTEN_SECONDS)
                    if message is not None:
                        for bell in self._bells.get(text(message["channel"]), ()):
                            bell.set()
                    await self._leave(pubsub)
            finally:
                self._pubsub = None

    async def _leave(self, pubsub: PubSub) -> None:
        unwatched = [channel for channel in self._left if channel not in self._bells]
        self._left.clear()
        if unwatched:
            await pubsub.unsubscribe(*unwatched)

    @asynccontextmanager
    async def watch(self, job_id: str) -> AsyncIterator["Watch"]:
        """What tells of changes of the job from now on."""
        channel, bell = changed_channel(job_id), asyncio.Event()
        first = channel not in self._bells
        self._bells[channel].add(bell)
        try:
            if first and self._pubsub is not None:
                with suppress(RedisError):  # which ends `listen` too: it subscribes again
                    await self._pubsub.subscribe(channel)
            yield Watch(bell)
        finally:
            # Left to `listen`: who is cancelled cannot wait for anything here.
            self._bells[channel].discard(bell)
            if not self._bells[channel]:
                del self._bells[channel]
                self._left.add(channel)


class Watch:
    """One who waits for one job."""

    def __init__(self, bell: asyncio.Event) -> None:
        self._bell = bell

    async def wait(self, seconds: float) -> None:
        """Return after a change since the last call, or after so many seconds."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._bell.wait(), max(seconds, 0.0))
        self._bell.clear()
