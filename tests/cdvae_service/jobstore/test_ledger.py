"""Places of jobs, as the scripts know them: each job in one place, at every moment."""

import time
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.strategies import sampled_from
from redis import Redis

from cdvae_schema.wire import (
    ABSENCE,
    LEASES_KEY,
    MAX_LOST,
    PATIENCE,
    QUEUES,
    WORKERS_KEY,
    worker_key,
)
from cdvae_service.jobstore.ledger import ENDED, LOST, now, source
from cdvae_service.jobstore.orphan_recovery import FailureDetector
from worker.supervisor.leases import Leases

FINAL = {"finished", "failed", "canceled"}


def submit(redis: Redis, job_id: str, queue: str = "normal", quota: int = 0) -> list[Any]:
    """Return the reply of the script `submit` that shows status and queue."""
    fields = {"status": "queued", "origin": queue, "result_ttl": "600", "ended_at": ""}
    flat = [part for pair in fields.items() for part in pair]
    args = [job_id, queue, "me", now()[0], 1000, quota, "", "", 60, 2, "status", "origin", *flat]
    return list(redis.register_script(source("submit"))(args=args))


def put(redis: Redis, job_id: str, queue: str = "normal", quota: int = 0) -> list[str]:
    """Return the outcome of a submission and, unless it is refused, the id of the job."""
    return [part.decode() for part in submit(redis, job_id, queue, quota)[:2]]


def state(redis: Redis, job_id: str) -> str:
    return (redis.hget(f"rq:job:{job_id}", "status") or b"gone").decode()


def finish(redis: Redis, job_id: str) -> None:
    """As the executor does."""
    redis.hset(f"rq:job:{job_id}", "status", "finished")


def test_urgent_queues_come_first_but_nothing_starves(redis_client: Redis) -> None:
    for number in range(40):
        put(redis_client, f"i{number}", "interactive")
    for number in range(3):
        put(redis_client, f"n{number}", "normal")
        put(redis_client, f"b{number}", "bulk")
    ledger = Leases(redis_client, "w")
    order = []
    while (job_id := ledger.take(QUEUES)) is not None:
        order.append(job_id)
        finish(redis_client, job_id)
        assert ledger.settle(job_id, "return") == "over"
    assert order[:PATIENCE] == [f"i{number}" for number in range(PATIENCE)]
    # Both others waited that long; they get a turn each, and then again.
    assert {job[0] for job in order[PATIENCE : PATIENCE + 2]} == {"n", "b"}
    for letter in "nb":
        turns = [place for place, job in enumerate(order) if job[0] == letter]
        assert all(later - earlier <= PATIENCE + 2 for earlier, later in pairwise(turns))
    assert Counter(order).most_common(1)[0][1] == 1
    assert len(order) == 46


@pytest.mark.parametrize("live", [True, False])
def test_a_submission_is_answered_with_what_a_look_at_the_job_would_show(
    redis_client: Redis, live: bool
) -> None:
    if live:
        redis_client.sadd(WORKERS_KEY, "w")
        redis_client.set(worker_key("w"), "{}")
    look = redis_client.register_script(source("status"))
    places = []
    for number, queue in enumerate(["bulk", "interactive", "bulk", "normal", "bulk"]):
        *_, seen = submit(redis_client, f"j{number}", queue)
        assert seen == look(args=[f"j{number}", "status", "origin"])
        assert seen[0] == [b"queued", queue.encode()]
        assert seen[3] == int(live)
        places.append(seen[2])
    assert places == [1, 1, 3, 2, 5]
    assert submit(redis_client, "j0", "bulk")[2] == look(args=["j0", "status", "origin"])


def test_a_lost_answer_is_given_again(redis_client: Redis) -> None:
    put(redis_client, "a")
    put(redis_client, "b")
    first, second = Leases(redis_client, "w1"), Leases(redis_client, "w2")
    assert first.take(QUEUES) == first.take(QUEUES) == "a"
    assert second.take(QUEUES) == "b"
    assert second.take(["interactive"]) == "b"
    assert put(redis_client, "a") == ["seen", "a"]
    assert redis_client.llen("rq:queue:normal") == 0


def test_a_queue_that_a_worker_does_not_serve_is_left(redis_client: Redis) -> None:
    put(redis_client, "a", "bulk")
    assert Leases(redis_client, "w").take(["interactive"]) is None
    assert Leases(redis_client, "w").take(["interactive", "bulk"]) == "a"


def test_nobody_settles_what_another_has(redis_client: Redis) -> None:
    put(redis_client, "a")
    Leases(redis_client, "w1").take(QUEUES)
    assert Leases(redis_client, "w2").settle("a", "fail", LOST) == "lost"
    assert state(redis_client, "a") == "queued"
    assert Leases(redis_client, "w1").settle("unknown", "fail", LOST) == "lost"


def test_a_lost_job_is_tried_once_more(redis_client: Redis) -> None:
    put(redis_client, "a")
    for attempt in range(MAX_LOST + 1):
        assert Leases(redis_client, f"w{attempt}").take(QUEUES) == "a"
        (fate,) = Leases(redis_client, "other").rescue(f"w{attempt}", LOST)
        assert fate == ("a", "requeued" if attempt < MAX_LOST else "failed")
    assert state(redis_client, "a") == "failed"
    assert redis_client.hget("rq:job:a", "ended_at") != b""
    assert 0 < redis_client.ttl("rq:job:a") <= 600
    assert redis_client.hlen(LEASES_KEY) == 0


def test_a_worker_that_is_alive_keeps_its_jobs(redis_client: Redis) -> None:
    put(redis_client, "a")
    Leases(redis_client, "w").take(QUEUES)
    redis_client.set(worker_key("w"), "{}")
    assert Leases(redis_client, "other").rescue("w", LOST) == []
    assert redis_client.hget(LEASES_KEY, "a") == b"w"


def test_death_takes_more_than_one_look() -> None:
    absences = FailureDetector()
    assert absences.dead({"a": True, "b": False}, 0.0) == []
    assert absences.dead({"a": False, "b": False}, ABSENCE) == ["b"]
    assert absences.dead({"a": True, "b": True}, ABSENCE + 1) == []
    assert absences.dead({"a": False, "b": False}, ABSENCE + 2) == []
    assert absences.dead({"a": False}, 2 * ABSENCE + 2) == ["a"]


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_a_rate_survives_a_clock_that_is_set(redis_client: Redis, jump: float) -> None:
    admit = redis_client.register_script(source("admit"))
    args = ["rate", 0.5, 3]
    assert [admit(args=args) for _ in range(3)] == [0, 0, 0]
    wait = admit(args=args)
    assert 0 < wait <= 500
    redis_client.set("rate", str(time.time() + jump))  # as a clock that is set by -jump leaves it
    assert admit(args=args) == 0


class Places(RuleBasedStateMachine):
    """Any order of what clients, workers and accidents do leaves every job in one place."""

    redis: Redis

    def __init__(self) -> None:
        super().__init__()
        self.redis.flushall()
        self.jobs = 0
        self.told: Counter[str] = Counter()
        self.workers = {name: Leases(self.redis, name) for name in ("w1", "w2", "w3")}
        self.cancel_script = self.redis.register_script(source("cancel"))

    def tell(self, job_id: str, fate: str) -> None:
        self.told[job_id] += fate in ENDED

    def ids(self) -> list[str]:
        return [f"j{number}" for number in range(self.jobs)]

    def held(self) -> dict[str, str]:
        leases = self.redis.hgetall(LEASES_KEY)
        return {worker.decode(): job.decode() for job, worker in leases.items()}

    @rule(queue=sampled_from(QUEUES))
    def submit(self, queue: str) -> None:
        put(self.redis, f"j{self.jobs}", queue)
        self.jobs += 1

    @rule(worker=sampled_from(["w1", "w2", "w3"]))
    def take(self, worker: str) -> None:
        self.workers[worker].take(QUEUES)

    @rule(
        worker=sampled_from(["w1", "w2", "w3"]), verdict=sampled_from(["return", "retry", "fail"])
    )
    def settle(self, worker: str, verdict: str) -> None:
        job_id = self.held().get(worker, "j0")
        fate = self.workers[worker].settle(job_id, verdict, LOST)  # type: ignore[arg-type]
        assert fate != "gone"
        self.tell(job_id, fate)

    @rule(worker=sampled_from(["w1", "w2", "w3"]))
    def finish_and_settle(self, worker: str) -> None:
        job_id = self.held().get(worker)
        if job_id is not None:
            finish(self.redis, job_id)
            fate = self.workers[worker].settle(job_id, "retry", LOST)
            assert fate == "over"
            self.tell(job_id, fate)

    @rule(worker=sampled_from(["w1", "w2", "w3"]))
    def die(self, worker: str) -> None:
        for job_id, fate in self.workers["w1"].rescue(worker, LOST):
            self.tell(job_id, fate)

    @precondition(lambda self: self.jobs)
    @rule(number=sampled_from(range(5)))
    def cancel(self, number: int) -> None:
        job_id = f"j{number % self.jobs}"
        if self.cancel_script(args=[job_id, *now(), 60]):
            self.told[job_id] += 1

    @precondition(lambda self: self.jobs)
    @rule(number=sampled_from(range(5)), queue=sampled_from(QUEUES))
    def deliver_twice(self, number: int, queue: str) -> None:
        self.redis.rpush(f"rq:queue:{queue}", f"j{number % self.jobs}")

    @invariant()
    def every_job_is_in_one_place(self) -> None:
        leased = [job.decode() for job in self.redis.hkeys(LEASES_KEY)]
        holders = self.redis.hvals(LEASES_KEY)
        assert len(set(holders)) == len(holders)
        queued = {
            job.decode() for name in QUEUES for job in self.redis.lrange(f"rq:queue:{name}", 0, -1)
        }
        for job_id in self.ids():
            final = state(self.redis, job_id) in FINAL
            assert not (final and job_id in leased)
            assert final or job_id in leased or job_id in queued, f"{job_id} is lost"
            assert final == (self.redis.ttl(f"rq:job:{job_id}") > 0)
            assert self.told[job_id] == final, f"the end of {job_id} is not told once"


def test_every_job_is_always_in_one_place(redis_client: Redis) -> None:
    Places.redis = redis_client
    machine = Places.TestCase
    machine.settings = settings(
        max_examples=30,
        stateful_step_count=30,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    machine().runTest()
