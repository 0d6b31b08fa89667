"""A receiver that does not answer delays only its own callbacks."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from redis import Redis

from app.api_settings import Settings
from app.application import create_app
from app.auth.key_file import ApiKey
from app.dependencies import Services
from app.planning.plan_generate import plan_generate
from app.queue.job_queue import Origin
from app.webhooks.outbound import MAX_CONNECTIONS
from app.webhooks.webhook_sender import BUSY_SECONDS, HELD_PER_RECEIVER, PER_RECEIVER, Webhooks
from cdvae_schema.requests import GenerateRequest
from cdvae_schema.wire import WEBHOOKS_KEY
from tests.waiting import HANG_SECONDS

SLOW, FAST = "https://slow.example/", "https://fast.example/"


class StubSender:
    """Answer every URL immediately except SLOW, which hangs forever."""

    def __init__(self) -> None:
        self.posted: list[str] = []
        self.answered = asyncio.Event()

    async def post(self, url: str, _headers: Mapping[str, str], _body: bytes) -> int:
        self.posted.append(url)
        if url == SLOW:
            await asyncio.Event().wait()
        self.answered.set()
        return 204


async def end_job(services: Services, key: ApiKey, url: str) -> None:
    """Queue a job with this callback and cancel it, so that the callback is due."""
    spec = plan_generate(services.models, GenerateRequest(callback_url=url))
    await services.queue.submit(spec, Origin(owner=key.id))
    await services.queue.cancel(spec.id, key.id)


def services_of(tmp_path: Path, store: Path, redis_url: str) -> tuple[Services, ApiKey]:
    app = create_app(Settings(home=tmp_path, model_store=str(store), redis_url=redis_url))
    services: Services = app.state.services
    return services, services.keys.create("lab")[1]


def test_a_receiver_that_hangs_delays_only_its_own(
    tmp_path: Path, store: Path, redis_url: str, redis_client: Redis
) -> None:
    services, key = services_of(tmp_path, store, redis_url)

    async def scenario() -> None:
        sender: Any = StubSender()
        webhooks = Webhooks(services.queue, services.keys, sender)
        await end_job(services, key, SLOW)
        await end_job(services, key, FAST)
        await asyncio.wait_for(webhooks.deliver(), HANG_SECONDS)
        await asyncio.wait_for(sender.answered.wait(), HANG_SECONDS)
        await end_job(services, key, FAST)  # due while the slow one still hangs
        sender.answered.clear()
        await webhooks.deliver()
        await asyncio.wait_for(sender.answered.wait(), HANG_SECONDS)
        await webhooks.close()
        await services.queue.close()
        assert sorted(sender.posted) == [FAST, FAST, SLOW]

    asyncio.run(scenario())


def test_many_callbacks_of_a_receiver_that_hangs_delay_no_other(
    tmp_path: Path, store: Path, redis_url: str, redis_client: Redis
) -> None:
    services, key = services_of(tmp_path, store, redis_url)

    async def scenario() -> None:
        sender: Any = StubSender()
        webhooks = Webhooks(services.queue, services.keys, sender)
        for _ in range(MAX_CONNECTIONS + 3):
            await end_job(services, key, SLOW)
        await end_job(services, key, FAST)
        await webhooks.deliver()
        await asyncio.wait_for(sender.answered.wait(), HANG_SECONDS)
        assert sender.posted.count(SLOW) == PER_RECEIVER
        await webhooks.close()
        await services.queue.close()

    asyncio.run(scenario())


def test_a_receiver_gets_its_callbacks_in_turn(
    tmp_path: Path, store: Path, redis_url: str, redis_client: Redis
) -> None:
    services, key = services_of(tmp_path, store, redis_url)

    async def scenario() -> None:
        sender: Any = StubSender()
        webhooks = Webhooks(services.queue, services.keys, sender)
        for _ in range(PER_RECEIVER + 3):
            await end_job(services, key, FAST)
        await webhooks.deliver()
        async with asyncio.timeout(HANG_SECONDS):
            while redis_client.zcard(WEBHOOKS_KEY):
                await asyncio.sleep(0.01)
        await webhooks.close()
        await services.queue.close()
        assert sender.posted == [FAST] * (PER_RECEIVER + 3)

    asyncio.run(scenario())


def test_a_receiver_without_room_gets_the_rest_later(
    tmp_path: Path, store: Path, redis_url: str, redis_client: Redis
) -> None:
    services, key = services_of(tmp_path, store, redis_url)

    async def scenario() -> None:
        sender: Any = StubSender()
        webhooks = Webhooks(services.queue, services.keys, sender)
        for _ in range(HELD_PER_RECEIVER + 3):
            await end_job(services, key, SLOW)
        await webhooks.deliver()
        soon = redis_client.time()[0] + BUSY_SECONDS + 1
        assert redis_client.zcount(WEBHOOKS_KEY, "-inf", soon) == 3
        assert redis_client.zcard(WEBHOOKS_KEY) == HELD_PER_RECEIVER + 3
        await webhooks.close()
        await services.queue.close()

    asyncio.run(scenario())


def test_no_more_are_claimed_than_may_be_held(
    tmp_path: Path, store: Path, redis_url: str, redis_client: Redis
) -> None:
    services, key = services_of(tmp_path, store, redis_url)

    async def scenario() -> None:
        webhooks = Webhooks(services.queue, services.keys, StubSender(), max_held=2)  # type: ignore[arg-type]
        for _ in range(3):
            await end_job(services, key, SLOW)
        for _ in range(2):
            await webhooks.deliver()
        now = redis_client.time()[0]
        assert redis_client.zcount(WEBHOOKS_KEY, "-inf", now + 1) == 1
        await webhooks.close()
        await services.queue.close()

    asyncio.run(scenario())
