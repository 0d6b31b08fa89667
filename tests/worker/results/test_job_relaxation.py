"""A worker without a potential says so."""

import contextlib
import threading

import pytest
from pymatgen.core.structure import Structure
from redis import Redis
from rq.job import Job

from cdvae.errors import Cancelled
from cdvae.stability.potential import Potential
from cdvae_schema.crystal_records import CrystalRecord
from tests.app.conftest import record
from tests.waiting import HANG_SECONDS
from worker.results.analysis import CrystalProvenance
from worker.results.job_relaxation import NoPotentialError, Relaxer, relaxation_metrics
from worker.supervisor.failures import explain

ORIGIN = CrystalProvenance(model="tiny@1", weights_sha256="ab" * 32, seed=1, sampler="ancestral")


def test_without_a_potential_a_job_fails_with_a_sentence(redis_client: Redis) -> None:
    relaxer = Relaxer(None, "cpu")
    assert not relaxer.available
    crystal = CrystalRecord.model_validate(record(0))
    structure = Structure([[4, 0, 0], [0, 4, 0], [0, 0, 4]], ["Sr"], [[0, 0, 0]])
    with pytest.raises(NoPotentialError) as raised:
        relaxer.relaxed([crystal], [structure], [5], ORIGIN, lambda _: None)
    error = explain(raised.value, Job("x", connection=redis_client))
    assert error.code == "no_potential"
    assert "potential" in error.detail


def test_metrics_of_nothing_relaxed_are_null() -> None:
    crystals = [CrystalRecord.model_validate(record(0))]
    assert relaxation_metrics(crystals) == {
        "relaxed": 0,
        "converged": None,
        "energy_per_atom": None,
        "rmsd": None,
    }


def test_a_job_that_waits_for_the_potential_can_stop() -> None:
    loading, go = threading.Event(), threading.Event()

    def load(device: str) -> Potential:
        loading.set()
        go.wait(HANG_SECONDS)
        raise NoPotentialError

    def cancel(done: int) -> None:
        raise Cancelled

    relaxer = Relaxer(load, "cpu")

    def run() -> None:
        with contextlib.suppress(NoPotentialError):
            relaxer.relaxed([], [], [], ORIGIN, lambda _: None)

    first = threading.Thread(target=run)
    first.start()
    assert loading.wait(HANG_SECONDS)
    with pytest.raises(Cancelled):
        relaxer.relaxed([], [], [], ORIGIN, cancel)
    go.set()
    first.join(HANG_SECONDS)
