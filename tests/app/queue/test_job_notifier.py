"""Waiting for one job among many."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from app.background import end, keep_doing
from app.queue.job_notifier import JobNotifier
from cdvae_schema.wire import changed_channel

LONG = 10.0  # s; no wait here takes that long


def heard(redis: Redis) -> set[str]:
    """Return the subscribed channels."""
    return {channel.decode() for channel in redis.pubsub_channels()}


def run(url: str, scene: Callable[[JobNotifier], Awaitable[None]]) -> None:
    """Run a scene while a `JobNotifier` listens."""

    async def play() -> None:
        async with AsyncRedis.from_url(url) as redis:
            notifier = JobNotifier(redis)
            listening = asyncio.create_task(keep_doing(notifier.listen, 0.05))
            try:
                await scene(notifier)
            finally:
                await end([listening])

    asyncio.run(play())


async def soon(holds: Callable[[], bool]) -> None:
    limit = time.monotonic() + LONG
    while not holds():
        assert time.monotonic() < limit
        await asyncio.sleep(0.02)


def test_only_jobs_that_are_waited_for_are_listened_to(redis_client: Redis, redis_url: str) -> None:
    async def scene(notifier: JobNotifier) -> None:
        await soon(lambda: changed_channel("") in heard(redis_client))
        assert changed_channel("a") not in heard(redis_client)
        async with notifier.subscribe("a") as one, notifier.subscribe("a") as other:
            await soon(lambda: changed_channel("a") in heard(redis_client))
            asyncio.get_running_loop().call_later(0.2, publish, "b", "a")
            begun = time.monotonic()
            await asyncio.gather(one.wait(LONG), other.wait(LONG))
            assert 0.1 < time.monotonic() - begun < LONG / 2
        await soon(lambda: changed_channel("a") not in heard(redis_client))

    def publish(*jobs: str) -> None:
        for job in jobs:
            redis_client.publish(changed_channel(job), "")

    run(redis_url, scene)


def test_who_waits_is_told_after_a_lost_connection_too(redis_client: Redis, redis_url: str) -> None:
    async def scene(notifier: JobNotifier) -> None:
        async with notifier.subscribe("a") as subscription:
            await soon(lambda: changed_channel("a") in heard(redis_client))
            redis_client.client_kill_filter(_type="pubsub")
            await soon(lambda: changed_channel("a") in heard(redis_client))
            redis_client.publish(changed_channel("a"), "")
            begun = time.monotonic()
            await subscription.wait(LONG)
            assert time.monotonic() - begun < LONG / 2

    run(redis_url, scene)


def test_a_watch_that_is_cancelled_leaves_nothing_behind(
    redis_client: Redis, redis_url: str
) -> None:
    async def scene(notifier: JobNotifier) -> None:
        async def wait() -> None:
            async with notifier.subscribe("a") as subscription:
                await subscription.wait(LONG)

        waiting = asyncio.create_task(wait())
        await soon(lambda: changed_channel("a") in heard(redis_client))
        await end([waiting])
        await soon(lambda: changed_channel("a") not in heard(redis_client))

    run(redis_url, scene)
