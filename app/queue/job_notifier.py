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


class JobNotifier:
    """Wakes those that wait for a job when a worker or a front end says that it has changed.

    Redis is asked for the news of those jobs alone: with two hundred others a second, reading of
    all of them would be a tenth of the front end's work.

    Announcements may be lost, with a restart of Redis for instance: who waits looks again after a
    second or so anyhow.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._pubsub: PubSub | None = None
        self._events: defaultdict[str, set[asyncio.Event]] = defaultdict(set)  # by channel
        self._abandoned: set[str] = set()  # channels that the last one may have stopped watching

    async def listen(self) -> None:
        """Pass announcements on, for ever; raises RedisError."""
        async with self._redis.pubsub(ignore_subscribe_messages=True) as pubsub:
            subscribed = {NOTHING, *self._events}
            await pubsub.subscribe(*subscribed)
            self._pubsub = pubsub  # from now on a watch subscribes itself
            try:
                if new := [channel for channel in self._events if channel not in subscribed]:
                    await pubsub.subscribe(*new)
                while True:
                    message = await pubsub.get_message(timeout=LISTEN_SECONDS)
                    if message is not None:
                        for event in self._events.get(text(message["channel"]), ()):
                            event.set()
                    await self._unsubscribe(pubsub)
            finally:
                self._pubsub = None

    async def _unsubscribe(self, pubsub: PubSub) -> None:
        unwatched = [channel for channel in self._abandoned if channel not in self._events]
        self._abandoned.clear()
        if unwatched:
            await pubsub.unsubscribe(*unwatched)

    @asynccontextmanager
    async def subscribe(self, job_id: str) -> AsyncIterator["Subscription"]:
        """What tells of changes of the job from now on."""
        channel, event = changed_channel(job_id), asyncio.Event()
        first = channel not in self._events
        self._events[channel].add(event)
        try:
            if first and self._pubsub is not None:
                with suppress(RedisError):  # which ends `listen` too: it subscribes again
                    await self._pubsub.subscribe(channel)
            yield Subscription(event)
        finally:
            # Left to `listen`: who is cancelled cannot wait for anything here.
            self._events[channel].discard(event)
            if not self._events[channel]:
                del self._events[channel]
                self._abandoned.add(channel)


class Subscription:
    """One who waits for one job."""

    def __init__(self, event: asyncio.Event) -> None:
        self._event = event

    async def wait(self, seconds: float) -> None:
        """Return after a change since the last call, or after so many seconds."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), max(seconds, 0.0))
        self._event.clear()
