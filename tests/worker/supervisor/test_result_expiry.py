"""Result folders are removed after their time to live, and never before."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from redis import Redis
from rq.job import Job

from cdvae_service.results.result_store import DirectoryStore
from tests.waiting import HANG_SECONDS
from tests.worker.laboratory import wait_until
from worker.supervisor.result_expiry import ResultExpiry


def result(home: Path, job_id: str, age: float) -> Path:
    folder = home / "results" / job_id
    folder.mkdir(parents=True)
    (folder / "result.json").write_text("{}")
    then = time.time() - age
    os.utime(folder, (then, then))
    return folder


def test_old_results_of_forgotten_jobs_go(redis_client: Redis, tmp_path: Path) -> None:
    old = result(tmp_path, "old", age=200)
    young = result(tmp_path, "young", age=10)
    known = result(tmp_path, "known", age=200)
    redis_client.hset(Job.key_for("known"), "status", "finished")
    expiry = ResultExpiry(redis_client, DirectoryStore(tmp_path / "results"), ttl=100)
    expiry.sweep()
    assert not old.exists()
    assert young.exists()
    assert known.exists()


class SlowStore(DirectoryStore):
    """A store whose listing takes until `go` is set."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.go = threading.Event()
        self.listings = 0

    def ages(self) -> Iterator[tuple[str, float]]:
        self.listings += 1
        self.go.wait(HANG_SECONDS)
        return super().ages()


def test_a_slow_listing_delays_nobody(redis_client: Redis, tmp_path: Path) -> None:
    old = result(tmp_path, "old", age=200)
    store = SlowStore(tmp_path / "results")
    expiry = ResultExpiry(redis_client, store, ttl=100)
    expiry.run()
    expiry.run()
    wait_until(lambda: store.listings == 1, "the sweep")
    assert old.exists()
    store.go.set()
    wait_until(lambda: not old.exists(), "the end of the sweep")
    expiry.run()  # the next sweep is due in ten minutes
    assert store.listings == 1


def test_no_results_yet(redis_client: Redis, tmp_path: Path) -> None:
    ResultExpiry(redis_client, DirectoryStore(tmp_path / "results"), ttl=1).sweep()
    assert list(tmp_path.iterdir()) == []
