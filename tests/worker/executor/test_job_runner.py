"""The end of a job: the comparison of its crystals can be cancelled."""

from collections.abc import Callable

import pytest
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from cdvae.errors import Cancelled
from cdvae_service.jobstore.ledger import LeaseLostError
from worker.executor.job_runner import CANCEL_SECONDS, compare

CELL = Structure(Lattice.cubic(4), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


class Clock:
    """A clock that advances by `step` seconds with every reading."""

    def __init__(self, step: float) -> None:
        self.step, self.now = step, 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def cancelled_at(call: int, error: Exception) -> Callable[[], None]:
    calls = []

    def check() -> None:
        calls.append(1)
        if len(calls) >= call:
            raise error

    return check


def test_a_job_that_goes_on_knows_its_duplicates() -> None:
    assert compare([CELL] * 3, [None] * 3, lambda: None) == ([None] * 3, False)


def test_a_cancelled_comparison_of_a_few_crystals_is_finished() -> None:
    check = cancelled_at(2, Cancelled("job"))
    assert compare([CELL] * 3, [None] * 3, check, Clock(0.0)) == ([None] * 3, True)


def test_a_cancelled_comparison_of_many_crystals_ends() -> None:
    check = cancelled_at(2, Cancelled("job"))
    assert compare([CELL] * 90, [None] * 90, check, Clock(CANCEL_SECONDS / 9)) == (None, True)


def test_a_lost_lease_ends_the_comparison_at_once() -> None:
    with pytest.raises(LeaseLostError):
        compare([CELL] * 3, [None] * 3, cancelled_at(1, LeaseLostError("job")))
