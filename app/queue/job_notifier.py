"""Wait for changes of jobs without polling Redis."""

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
NOTHING = changed_channel("")  # a pubsub without any channel ends


class JobNotifier:
    """Notify the subscriptions of a job when a worker or a front end announces a change.

    Only the channels of these jobs are subscribed to: with two hundred other changes per second,
    reading all of them would take a tenth of the front end's time.

    Announcements may be lost, for example when Redis restarts, so callers of `wait` also check
    the job every second or so.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._pubsub: PubSub | None = None
        self._events: defaultdict[str, set[asyncio.Event]] = defaultdict(set)  # by channel
        self._abandoned: set[str] = set()  # channels that may have no subscription left

    async def listen(self) -> None:
        """Pass announcements on until cancelled; raises RedisError."""
        async with self._redis.pubsub(ignore_subscribe_messages=True) as pubsub:
            subscribed = {NOTHING, *self._events}
            await pubsub.subscribe(*subscribed)
            self._pubsub = pubsub  # from now on `subscribe` adds its own channel
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
        """Yield a subscription to the changes of a job."""
        channel, event = changed_channel(job_id), asyncio.Event()
        first = channel not in self._events
        self._events[channel].add(event)
        try:
            if first and self._pubsub is not None:
                with suppress(RedisError):  # `listen` fails too and subscribes again
                    await self._pubsub.subscribe(channel)
            yield Subscription(event)
        finally:
            # `listen` unsubscribes later: a cancelled task cannot await anything here.
            self._events[channel].discard(event)
            if not self._events[channel]:
                del self._events[channel]
                self._abandoned.add(channel)


class Subscription:
    """The subscription of one request to one job."""

    def __init__(self, event: asyncio.Event) -> None:
        self._event = event

    async def wait(self, seconds: float) -> None:
        """Return after a change since the last call, or after `seconds`."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), max(seconds, 0.0))
        self._event.clear()
