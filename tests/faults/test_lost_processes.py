"""Processes are killed or stopped in the middle of a job: no crystal is lost or made twice."""

import json
import time

import psutil

from tests.faults.site import (
    Site,
    crystals,
    events,
    family,
    holder,
    status,
    submit,
    undisturbed,
    wait_for,
    wait_for_crystals,
)
from tests.worker.laboratory import wait_until

SEEN_SECONDS = 15


def test_a_killed_worker_costs_no_finished_crystal(site: Site) -> None:
    site.lab.start_worker()
    site.lab.start_worker()
    client = site.start_api()
    # The crystals have no duplicates, which would change the first chunk at the end of the job.
    job = submit(client, "slow", num_samples=4, seed=1)
    wait_for_crystals(client, job, 2)
    first = site.lab.store.read(job, "chunk-00000.json")
    killed = holder(site, job)
    killed.kill()
    begun = time.monotonic()
    ended = wait_for(client, job, timeout=SEEN_SECONDS + 10)
    assert ended["state"] == "succeeded", ended
    assert ended["progress"]["samples_done"] == 4
    assert site.attempts(job) == 1
    assert (
        time.monotonic() - begun < SEEN_SECONDS + 5
    )  # the death was noticed, and the rest was made
    assert site.lab.store.read(job, "chunk-00000.json") == first
    assert crystals(client, job, "slow") == undisturbed(client, num_samples=4, seed=1)

    # The second time the job fails as quickly and keeps its crystals.
    job = submit(client, "paced", num_samples=40, seed=3)
    wait_for_crystals(client, job, 2)
    site.lab.redis.hset(f"rq:job:{job}", "cdvae:attempts", 1)
    holder(site, job).kill()
    begun = time.monotonic()
    ended = wait_for(client, job, timeout=SEEN_SECONDS + 10)
    assert time.monotonic() - begun < SEEN_SECONDS
    assert ended["error"]["code"] == "worker_lost"
    assert ended["finished_at"] is not None
    assert ended["progress"]["samples_done"] >= 2


def test_a_worker_that_wakes_up_late_does_no_harm(site: Site) -> None:
    site.lab.start_worker()
    client = site.start_api()
    job = submit(client, "slow", num_samples=4, seed=5)
    wait_for_crystals(client, job, 2)
    sleeping = family(holder(site, job))
    for process in sleeping:
        process.suspend()
    site.lab.start_worker()
    ended = wait_for(client, job, timeout=SEEN_SECONDS + 15)
    assert ended["state"] == "succeeded"
    files = {name: site.lab.store.read(job, name) for name in site.lab.store.names(job)}
    for process in sleeping:
        process.resume()
    # It notices that it lost the job, and keeps working.
    names = {one.name for one in site.lab.presences()}
    wait_until(lambda: len({p.name for p in site.lab.presences()} | names) == 2, "its return")
    wait_until(lambda: all(p.state == "idle" for p in site.lab.presences()), "idle workers")
    assert status(client, job) == ended
    assert {name: site.lab.store.read(job, name) for name in site.lab.store.names(job)} == files
    jobs = [submit(client, "paced", num_samples=2) for _ in range(4)]
    assert [wait_for(client, one)["state"] for one in jobs] == ["succeeded"] * 4
    assert all(psutil.pid_exists(process.pid) for process in sleeping)


def test_a_killed_front_end_is_not_missed(site: Site) -> None:
    site.lab.start_worker()
    first, second = site.start_api(), site.start_api()
    job = submit(first, "paced", num_samples=12, seed=2)
    seen = []
    with first.stream("GET", f"/jobs/{job}/events") as answer:
        for identity, name, data in events(answer.iter_lines()):
            if name == "crystal":
                seen.append(json.loads(data)["index"])
                last = identity
            if len(seen) == 3:
                site.front_ends[0].process.kill()
                break
    with second.stream("GET", f"/jobs/{job}/events", headers={"Last-Event-ID": last}) as answer:
        rest = list(events(answer.iter_lines()))
    seen += [json.loads(data)["index"] for _, name, data in rest if name == "crystal"]
    assert seen == list(range(12))
    assert rest[-1][:2] == ("end", "done")
    assert json.loads(rest[-1][2])["state"] == "succeeded"
    assert second.get(f"/jobs/{job}/events", headers={"Last-Event-ID": "end"}).status_code == 204
