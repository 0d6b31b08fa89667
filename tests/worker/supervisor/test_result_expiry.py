"""Result folders are removed when, and only when, their time is over."""

import os
import time
from pathlib import Path

from redis import Redis
from rq.job import Job

from cdvae_service.results.result_store import DirectoryStore
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
    expiry.run()
    assert not old.exists()
    assert young.exists()
    assert known.exists()
    late = result(tmp_path, "late", age=200)
    expiry.run()
    assert late.exists()  # it looks every ten minutes only


def test_no_results_yet(redis_client: Redis, tmp_path: Path) -> None:
    ResultExpiry(redis_client, DirectoryStore(tmp_path / "results"), ttl=1).run()
    assert list(tmp_path.iterdir()) == []
