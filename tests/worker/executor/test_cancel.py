"""A running job stops soon after its cancellation and keeps its finished crystals."""

import subprocess
import time

import pytest

from tests.worker.laboratory import Lab, wait_until

PROMISED = 2.0  # s
LEVELS = int(PROMISED / 0.05)  # of the model `counted` in that time


@pytest.fixture(scope="module", autouse=True)
def worker(lab: Lab) -> subprocess.Popen[bytes]:
    return lab.start_worker()


def test_hardly_a_noise_level_is_computed_for_a_cancelled_job(lab: Lab) -> None:
    """Levels are counted, not seconds, so that a busy machine does not matter."""
    job = lab.submit("generate", "counted", num_samples=2)
    counts = lab.folder / "home" / "levels"
    wait_until(lambda: counts.exists() and counts.stat().st_size > 3, "some levels")
    before = counts.stat().st_size
    lab.cancel(job)
    assert lab.end(job) == "cancelled"
    assert counts.stat().st_size - before < LEVELS
    assert lab.crystals(job) == []


def test_a_job_whose_crystals_are_being_checked_keeps_the_checked_ones(lab: Lab) -> None:
    job = lab.submit("generate", "thorough", num_samples=120)
    # Decoding tiny crystals is quick; checking all of them would take a minute.
    wait_until(lambda: float(lab.progress(job).get("fraction", 0)) > 0.5, "the checks")
    time.sleep(3)
    lab.cancel(job)
    assert lab.end(job) == "cancelled"
    kept = lab.crystals(job)
    assert 0 < len(kept) < 100
    assert [one["index"] for one in kept] == list(range(len(kept)))
    assert lab.summary(job)["metrics"]["num_samples"] == len(kept)
    assert lab.progress(job)["samples_done"] == str(len(kept))
