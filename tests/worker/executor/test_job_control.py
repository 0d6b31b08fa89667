"""Progress and cancellation of a job."""

import pytest

from cdvae.errors import Cancelled
from cdvae_service.jobstore.ledger import LeaseLostError
from worker.executor.job_control import JobControl

STAGES = ("starting", "sampling", "finishing")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_progress_says_how_far_it_is_and_what_the_rest_may_take() -> None:
    clock = Clock()
    control = JobControl("j", 10, STAGES, clock)
    assert control.eta_seconds() == ""
    control.stage("sampling")
    clock.now += 0.25
    control.level(0.5)
    control.crystals_done(4)
    assert control.progress() == {
        "fraction": "0.4750",
        "stage": "sampling",
        "samples_done": "4",
        "samples_total": "10",
    }
    # At 47.5 % after 0.25 s the rest takes 0.28 s.
    assert float(control.eta_seconds()) == pytest.approx(0.3, abs=0.05)


def test_fraction_never_falls_and_ends_at_one() -> None:
    control = JobControl("j", 4, STAGES)
    seen = []
    for stage in STAGES:
        control.stage(stage)
        for part in (0.0, 0.5, 0.3, 1.0):
            control.level(part)
            seen.append(float(control.progress()["fraction"]))
    assert seen == sorted(seen)
    control.crystals_done(3)
    control.finish(4)
    assert float(control.progress()["fraction"]) == 1
    assert control.progress()["samples_done"] == "4"


def test_a_job_that_is_to_stop_hears_of_it_at_its_next_level() -> None:
    control = JobControl("j", 1, STAGES)
    control.update(cancel=False, ours=True)
    control.level(0.1)
    control.update(cancel=True, ours=True)
    with pytest.raises(Cancelled):
        control.level(0.2)


def test_a_job_that_another_worker_has_is_left_alone() -> None:
    control = JobControl("j", 1, STAGES)
    control.update(cancel=True, ours=False)
    assert control.lost
    with pytest.raises(LeaseLostError):
        control.check()
