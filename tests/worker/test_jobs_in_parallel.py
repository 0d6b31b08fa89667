"""Jobs that run at the same time give the same crystals; a failure stays with its job."""

import subprocess
from collections.abc import Iterator

import pytest

from tests.waiting import HANG_SECONDS
from tests.worker.laboratory import Lab, wait_until


@pytest.fixture(scope="module")
def worker(lab: Lab) -> Iterator[subprocess.Popen[bytes]]:
    worker = lab.start_worker(CDVAE_MAX_CONCURRENT_JOBS="16")
    yield worker
    worker.terminate()
    worker.wait(20)


def test_jobs_side_by_side_give_what_each_gives_alone(
    lab: Lab, worker: subprocess.Popen[bytes]
) -> None:
    alone = [lab.submit("generate", "tiny", seed=seed) for seed in (1, 2)]
    expected = [lab.end(job) and lab.crystals(job) for job in alone]
    blocking = lab.submit("generate", "slow", num_samples=4)
    wait_until(lambda: lab.progress(blocking).get("samples_done") == "2", "the first chunk")
    # Their model differs from the slow one's, so both wait and then share a batch.
    jobs = [lab.submit("generate", "tiny", seed=seed) for seed in (1, 2)]
    wait_until(lambda: all(lab.state(job) == "started" for job in jobs), "both started")
    urgent = lab.submit("generate", "tiny", priority="interactive")
    assert lab.end(urgent) == "succeeded"
    assert lab.state(blocking) == "started"
    lab.cancel(blocking)
    assert lab.end(blocking) == "cancelled"
    for job, crystals in zip(jobs, expected, strict=True):
        assert lab.end(job) == "succeeded"
        assert lab.crystals(job) == crystals


def test_a_job_that_kills_its_process_takes_no_other_with_it(
    lab: Lab, worker: subprocess.Popen[bytes]
) -> None:
    others = [lab.submit("generate", "paced", num_samples=6) for _ in range(3)]
    wait_until(lambda: all(lab.state(job) == "started" for job in others), "the others started")
    deadly = lab.submit("generate", "killed")
    assert lab.end(deadly, timeout=HANG_SECONDS) == "failed"  # two new processes come up on the way
    assert lab.error(deadly).code == "worker_lost"
    for job in others:
        assert lab.end(job) == "succeeded"
        assert len(lab.crystals(job)) == 6
