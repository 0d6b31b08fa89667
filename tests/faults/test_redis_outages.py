"""Redis stops and restarts in the middle of a job or before a submission, or its clock jumps."""

import time

import httpx2
import pytest

from tests.faults.site import (
    Site,
    crystals,
    status,
    submit,
    undisturbed,
    wait_for,
    wait_for_crystals,
)
from tests.worker.laboratory import wait_until


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_restart_in_the_middle_of_a_job(site: Site, how: str) -> None:
    worker = site.lab.start_worker()
    client = site.start_api()
    job = submit(client, "paced", num_samples=8, seed=4)
    waiting = submit(client, "paced", num_samples=2)
    wait_for_crystals(client, job, 2)
    site.redis.stop() if how == "stop" else site.kill_redis()
    assert client.get(f"/jobs/{job}").status_code == 503
    time.sleep(2)
    site.redis.start()
    assert wait_for(client, job)["state"] == "succeeded"
    assert wait_for(client, waiting)["state"] == "succeeded"
    assert site.attempts(job) == 0
    assert worker.poll() is None
    assert crystals(client, job, "paced") == undisturbed(client, num_samples=8, seed=4)


def test_an_outage_at_the_end_of_a_job(site: Site) -> None:
    site.lab.start_worker()
    client = site.start_api()
    job = submit(client, "paced", num_samples=4, seed=4)
    wait_for_crystals(client, job, 2)
    site.kill_redis()
    wait_until(lambda: "result.json" in site.lab.store.names(job), "the end, unheard")
    time.sleep(3)
    site.redis.start()
    ended = wait_for(client, job)
    assert (ended["state"], ended["progress"]["samples_done"]) == ("succeeded", 4)
    assert crystals(client, job, "paced") == undisturbed(client, num_samples=4, seed=4)


def test_a_submission_without_redis_leaves_nothing(site: Site) -> None:
    site.lab.start_worker()
    client = site.start_api()
    site.kill_redis()
    headers = {"Idempotency-Key": "night-7"}
    body = {"num_samples": 1, "seed": 1}
    for _ in range(3):
        refused = client.post("/generate", json=body, headers=headers)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        assert refused.headers["content-type"] == "application/problem+json"
    site.redis.start()

    def taken() -> httpx2.Response | None:
        answer = client.post("/generate", json=body, headers=headers)
        return answer if answer.status_code == 202 else None

    jobs = {wait_until(taken, "the return").json()["id"] for _ in range(3)}
    assert len(jobs) == 1
    assert [one["id"] for one in client.get("/jobs").json()["jobs"]] == list(jobs)
    assert wait_for(client, jobs.pop())["state"] == "succeeded"


def test_a_clock_that_is_set_forward(site: Site) -> None:
    """All keys with a time to live vanish from Redis at once, those of live workers too."""
    site.lab.start_worker()
    client = site.start_api()
    job = submit(client, "paced", num_samples=20, seed=4)
    wait_for_crystals(client, job, 2)
    for key in site.lab.redis.scan_iter():
        if site.lab.redis.ttl(key) >= 0:
            site.lab.redis.pexpire(key, 1)
    assert wait_for(client, job)["state"] == "succeeded"
    assert site.attempts(job) == 0
    assert crystals(client, job, "paced") == undisturbed(client, num_samples=20, seed=4)
    assert status(client, job)["progress"]["fraction"] == 1
