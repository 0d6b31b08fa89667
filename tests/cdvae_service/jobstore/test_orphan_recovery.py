"""Dead workers are found by the replies of the scripts."""

from redis import Redis

from cdvae_schema.wire import ABSENCE, LEASES_KEY, WORKERS_KEY, worker_key
from cdvae_service.jobstore.orphan_recovery import OrphanRecovery
from worker.supervisor.leases import Leases


def test_holders_of_leases_and_announced_workers_are_watched(redis_client: Redis) -> None:
    redis_client.sadd(WORKERS_KEY, "live", "vanished")
    redis_client.set(worker_key("live"), "{}")
    redis_client.hset(LEASES_KEY, mapping={"a": "live", "b": "silent", "c": "silent"})
    leases, moment = Leases(redis_client, "other"), 0.0
    recovery = OrphanRecovery(lambda: moment)
    assert recovery.dead(leases.presences()) == []
    moment = ABSENCE
    assert sorted(recovery.dead(leases.presences())) == ["silent", "vanished"]


def test_the_jobs_that_ended_are_counted() -> None:
    fates = [("a", "over"), ("b", "requeued"), ("c", "failed"), ("d", "gone")]
    assert OrphanRecovery().ended("w", fates) == ["a", "c"]
