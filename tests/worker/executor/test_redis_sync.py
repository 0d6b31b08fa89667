"""Progress goes to Redis, cancellations come from it, and an outage stops no job."""

import time
from collections.abc import Callable

import pytest
from redis import Redis

from cdvae.errors import Cancelled
from cdvae_schema.wire import LEASES_KEY, cancel_key, changed_channel, progress_key
from cdvae_service.jobstore.ledger import LeaseLostError
from tests.waiting import HANG_SECONDS
from worker.executor.job_control import JobControl
from worker.executor.redis_sync import RedisSync

STAGES = ("starting", "sampling", "finishing")


def progress(client: Redis, job_id: str) -> dict[str, str]:
    return {k.decode(): v.decode() for k, v in client.hgetall(progress_key(job_id)).items()}


def soon(met: Callable[[], bool]) -> None:
    end = time.monotonic() + HANG_SECONDS
    while not met():
        assert time.monotonic() < end
        time.sleep(0.02)


def is_unwanted(control: JobControl) -> bool:
    try:
        control.check()
    except Cancelled:
        return True
    return False


def leased(client: Redis, *names: str) -> list[JobControl]:
    client.hset(LEASES_KEY, mapping=dict.fromkeys(names, "w"))
    return [JobControl(name, 10, STAGES) for name in names]


def test_progress_is_written_without_the_job_and_the_last_of_it_at_its_end(
    redis_client: Redis,
) -> None:
    first, second = leased(redis_client, "a", "b")
    sync = RedisSync(redis_client, "w")
    with sync.track(first), sync.track(second):
        assert progress(redis_client, "a")["stage"] == "starting"
        first.stage("sampling")
        first.level(0.5)
        soon(lambda: progress(redis_client, "a")["fraction"] == "0.4750")
        assert float(progress(redis_client, "a")["eta_seconds"]) >= 0.0
        assert redis_client.ttl(progress_key("a")) > 0
        assert progress(redis_client, "b")["fraction"] == "0.0000"
        second.finish(10)
    written = progress(redis_client, "b")
    assert (written["fraction"], written["samples_done"]) == ("1.0000", "10")


def test_news_are_announced_and_nothing_else(redis_client: Redis) -> None:
    (control,) = leased(redis_client, "j")
    with redis_client.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe(changed_channel("j"))
        pubsub.get_message(timeout=HANG_SECONDS)
        with RedisSync(redis_client, "w").track(control):
            message = pubsub.get_message(timeout=HANG_SECONDS)
            assert message is not None
            assert message["channel"] == changed_channel("j").encode()
            assert pubsub.get_message(timeout=1.0) is None
            control.stage("sampling")
            assert pubsub.get_message(timeout=HANG_SECONDS) is not None


def test_a_cancellation_reaches_its_job(redis_client: Redis) -> None:
    one, other = leased(redis_client, "one", "other")
    sync = RedisSync(redis_client, "w")
    with sync.track(one), sync.track(other):
        redis_client.set(cancel_key("one"), "1")
        soon(lambda: is_unwanted(one))
        assert not is_unwanted(other)


def test_a_cancellation_before_the_start_is_known_at_the_start(redis_client: Redis) -> None:
    (control,) = leased(redis_client, "j")
    redis_client.set(cancel_key("j"), "1")
    with RedisSync(redis_client, "w").track(control), pytest.raises(Cancelled):
        control.check()


def test_the_progress_of_a_job_that_another_worker_has_is_not_written(redis_client: Redis) -> None:
    (control,) = leased(redis_client, "j")
    with RedisSync(redis_client, "w").track(control):
        redis_client.hset(LEASES_KEY, "j", "other")
        soon(lambda: control.lost)
        with pytest.raises(LeaseLostError):
            control.check()
        control.stage("sampling")
    assert progress(redis_client, "j")["stage"] == "starting"


def test_a_silent_redis_does_not_stop_the_job(tmp_path: object) -> None:
    client = Redis.from_url(f"unix://{tmp_path}/nobody.sock", retry=None)
    control = JobControl("j", 1, STAGES)
    with RedisSync(client, "w").track(control):
        control.stage("sampling")
        control.check()
    client.close()
