"""Progress is throttled and never stops a job; a wish to cancel does."""

import pytest
from redis import Redis

from cdvae.errors import Cancelled
from schema.wire import CHANGED_CHANNEL, LEASES_KEY, cancel_key, progress_key
from worker.control import Control, LeaseLostError

STAGES = ("starting", "sampling", "finishing")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def progress(client: Redis) -> dict[str, str]:
    return {k.decode(): v.decode() for k, v in client.hgetall(progress_key("j")).items()}


def test_progress_is_written_a_few_times_a_second(redis_client: Redis) -> None:
    clock = Clock()
    control = Control(redis_client, "j", "w", 10, STAGES, clock)
    control.stage("sampling")
    before = progress(redis_client)["fraction"]
    clock.now += 0.05
    control.update(0.4)
    assert progress(redis_client)["fraction"] == before
    clock.now += 0.2
    control.update(0.5)
    written = progress(redis_client)
    assert float(written["fraction"]) > float(before)
    assert written["stage"] == "sampling"
    assert written["samples_total"] == "10"
    # At 47.5 % after 0.25 s the rest takes 0.28 s.
    assert float(written["eta_seconds"]) == pytest.approx(0.3, abs=0.05)


def test_fraction_never_falls_and_ends_at_one(redis_client: Redis) -> None:
    control = Control(redis_client, "j", "w", 4, STAGES, Clock())
    seen = []
    for stage in STAGES:
        control.stage(stage)
        for part in (0.0, 0.5, 0.3, 1.0):
            control.update(part, now=True)
            seen.append(float(progress(redis_client)["fraction"]))
    assert seen == sorted(seen)
    control.crystals_done(3)
    control.finish(4)
    assert float(progress(redis_client)["fraction"]) == 1
    assert progress(redis_client)["samples_done"] == "4"
    assert redis_client.ttl(progress_key("j")) > 0


def test_a_wish_to_cancel_is_seen(redis_client: Redis) -> None:
    control = Control(redis_client, "j", "w", 1, STAGES)
    redis_client.hset(LEASES_KEY, "j", "w")
    control.check()
    redis_client.set(cancel_key("j"), "1")
    with pytest.raises(Cancelled):
        control.check()


def test_a_job_that_another_worker_has_is_left_alone(redis_client: Redis) -> None:
    control = Control(redis_client, "j", "w", 1, STAGES)
    redis_client.hset(LEASES_KEY, "j", "other")
    redis_client.set(cancel_key("j"), "1")
    with pytest.raises(LeaseLostError):
        control.check()


def test_every_progress_is_announced(redis_client: Redis) -> None:
    with redis_client.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe(CHANGED_CHANNEL)
        pubsub.get_message(timeout=5)
        Control(redis_client, "j", "w", 1, STAGES).stage("sampling")
        message = pubsub.get_message(timeout=5)
    assert message is not None
    assert message["data"] == b"j"


def test_a_silent_redis_does_not_stop_the_job(tmp_path: object) -> None:
    client = Redis.from_url(f"unix://{tmp_path}/nobody.sock", retry=None)
    control = Control(client, "j", "w", 1, STAGES)
    control.stage("sampling")
    control.check()
    client.close()
