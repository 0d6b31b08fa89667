"""One worker, real RQ and Redis: every job ends, however its model fails, and the next one runs."""

import json
import subprocess
import time
from collections.abc import Iterator

import pytest

from cdvae_schema.crystal_records import (
    CrystalRecord,
    InterpolatedRecord,
    OptimizedRecord,
    ReconstructedRecord,
    VariedRecord,
)
from cdvae_schema.formula import parse_formula
from cdvae_schema.outcomes import ResultSummary
from cdvae_schema.wire import FIELD_ATTEMPTS, LEASES_KEY, MAX_LOST, PATIENCE
from tests.waiting import HANG_SECONDS
from tests.worker.laboratory import Lab, executors, wait_until

SRTIO3 = {
    "lattice": [[3.9, 0, 0], [0, 3.9, 0], [0, 0, 3.9]],
    "atomic_numbers": [38, 22, 8, 8, 8],
    "frac_coords": [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    "label": "SrTiO3",
}
BACAF3 = {**SRTIO3, "atomic_numbers": [56, 20, 9, 9, 9], "label": "BaCaF3"}


@pytest.fixture(scope="module")
def worker(lab: Lab) -> subprocess.Popen[bytes]:
    return lab.start_worker()


@pytest.fixture(autouse=True)
def _the_worker_survives(lab: Lab, worker: subprocess.Popen[bytes]) -> Iterator[None]:
    yield
    assert worker.poll() is None, lab.log.read_text()


def test_a_ready_worker_says_so(lab: Lab) -> None:
    (presence,) = lab.presences()
    assert presence.models == ["tiny@1"]
    assert presence.device == "cpu"


def test_generate_what_is_required(lab: Lab) -> None:
    cell = {"a": 4.0, "b": 4.0, "c": 4.0, "alpha": 90.0, "beta": 90.0, "gamma": 90.0}
    required = {"composition": "LiTiO3", "lattice": cell, "spacegroup": 221}
    job = lab.submit("generate", num_samples=3, **required)
    assert lab.end(job) == "succeeded"
    for crystal in map(CrystalRecord.model_validate, lab.crystals(job)):
        assert crystal.formula == "Li1 Ti1 O3"
        found = crystal.lattice.model_dump(include=set(cell))
        assert found == pytest.approx(cell, rel=1e-6)
        assert crystal.spacegroup is not None
        assert crystal.spacegroup.number == 221


def test_infeasible_constraints_fail_with_a_reason(lab: Lab) -> None:
    job = lab.submit("generate", spacegroup=225)
    assert lab.end(job) == "failed"
    error = lab.error(job)
    assert error.code == "infeasible"
    assert "space group" in error.detail


def test_generate(lab: Lab) -> None:
    job = lab.submit("generate", num_samples=70)
    assert lab.end(job) == "succeeded"
    records = [CrystalRecord.model_validate(crystal) for crystal in lab.crystals(job)]
    assert [record.index for record in records] == list(range(70))
    assert all(record.num_atoms == 5 for record in records)
    assert set(records[0].predicted) == {"formation_energy", "band_gap"}
    assert records[-1].duplicate_of is None or records[-1].duplicate_of < 69
    summary = ResultSummary.model_validate(lab.summary(job))
    assert summary.state == "succeeded"
    assert summary.order is None
    assert summary.metrics["num_samples"] == 70
    assert 0 <= summary.metrics["uniqueness"] <= 1
    assert summary.provenance.model == "tiny"
    assert summary.provenance.nfe == 5
    assert summary.provenance.seconds.sample > 0
    assert summary.provenance.seconds.check > 0
    assert f"weights_sha256: {summary.provenance.weights_sha256}" in records[3].cif
    assert "index: 3" in records[3].cif
    progress = lab.progress(job)
    assert (progress["fraction"], progress["samples_done"]) == ("1.0000", "70")


def test_a_crystal_depends_on_its_seed_and_index_alone(lab: Lab) -> None:
    few = lab.submit("generate", num_samples=2)
    many = lab.submit("generate", num_samples=5)
    other = lab.submit("generate", num_samples=2, seed=8)
    assert [lab.end(job) for job in (few, many, other)] == ["succeeded"] * 3
    first, second, third = (lab.crystals(job)[1] for job in (few, many, other))
    assert first["formula"] == second["formula"]
    assert first["volume"] == pytest.approx(second["volume"], rel=1e-4)
    assert first["min_distance"] == pytest.approx(second["min_distance"], abs=1e-3)
    assert first["cif"] != third["cif"]


def test_reconstruct(lab: Lab) -> None:
    job = lab.submit("reconstruct", structures=[SRTIO3, SRTIO3], num_candidates=3)
    assert lab.end(job) == "succeeded"
    records = [ReconstructedRecord.model_validate(crystal) for crystal in lab.crystals(job)]
    assert [record.source for record in records] == [0, 0, 0, 1, 1, 1]
    # Equal inputs have equal posterior means, so equal cells; the later candidates are draws.
    assert records[0].lattice.a == pytest.approx(records[3].lattice.a, rel=1e-5)
    assert records[1].lattice.a != pytest.approx(records[4].lattice.a, rel=1e-5)
    metrics = lab.summary(job)["metrics"]
    sources = {record.source for record in records if record.matched}
    assert metrics["match_rate"] == len(sources) / 2
    assert (metrics["rmse"] is None) == (not sources)
    for source in (0, 1):
        own = [record for record in records if record.source == source]
        assert sorted(record.rank for record in own) == [1, 2, 3]
        ranked = sorted(own, key=lambda record: record.rank)
        doubts = [
            (not all(dict(record.valid).values()), record.consistency.score_residual)
            for record in ranked
        ]
        assert doubts == sorted(doubts)
    order = [records[index] for index in lab.summary(job)["order"]]
    assert [(record.source, record.rank) for record in order] == [
        (source, rank) for source in (0, 1) for rank in (1, 2, 3)
    ]
    assert 0 <= metrics["top1"]["match_rate"] <= metrics["match_rate"]


def test_interpolate(lab: Lab) -> None:
    """The job has several chunks; its ends equal the reconstructions of the given crystals."""
    job = lab.submit("interpolate", "pairs", structures=[SRTIO3, BACAF3], num_points=5)
    assert lab.end(job) == "succeeded"
    records = [InterpolatedRecord.model_validate(crystal) for crystal in lab.crystals(job)]
    assert [record.position for record in records] == [0, 0.25, 0.5, 0.75, 1]
    assert lab.summary(job)["order"] is None
    again = lab.submit("reconstruct", structures=[SRTIO3])
    assert lab.end(again) == "succeeded"
    assert records[0].lattice.a == pytest.approx(lab.crystals(again)[0]["lattice"]["a"], rel=1e-5)
    assert records[0].distances != records[-1].distances


def test_vary(lab: Lab) -> None:
    job = lab.submit("vary", "pairs", structures=[SRTIO3], num_samples=3, strength=0.1)
    assert lab.end(job) == "succeeded"
    records = [VariedRecord.model_validate(crystal) for crystal in lab.crystals(job)]
    assert len({record.cif for record in records}) == 3
    mean = sum(record.distance for record in records) / 3
    assert lab.summary(job)["metrics"]["distance"]["mean"] == pytest.approx(mean)


@pytest.mark.parametrize("start", ["dataset", "prior", "structures"])
def test_optimize(lab: Lab, start: str) -> None:
    structures = [SRTIO3] if start == "structures" else []
    job = lab.submit("optimize", structures=structures, start=start)
    assert lab.end(job) == "succeeded"
    records = [OptimizedRecord.model_validate(crystal) for crystal in lab.crystals(job)]
    for record in records:
        # An untrained encoder need not see what the head predicted: see test_shipped_model.
        assert record.predicted["formation_energy"] != record.start_value
        assert 5 <= len(record.trajectory) <= 11  # four moves without progress end a search
        (outcome,) = record.objectives
        assert outcome.trajectory == record.trajectory
        assert outcome.predicted_gain == record.trajectory[-1] - record.trajectory[0]
        assert outcome.gap == outcome.predicted_gain - outcome.validated_gain
        assert 0 <= record.percentile <= 100
        assert record.source == (0 if structures else None)
    summary = lab.summary(job)
    values = [records[index].predicted["formation_energy"] for index in summary["order"]]
    assert values == sorted(values)
    rates = summary["metrics"]["success_rate"]
    assert rates["5"] <= rates["10"] <= rates["15"]
    gains = summary["metrics"]["gain"]["formation_energy"]
    gaps = [abs(record.objectives[0].gap) for record in records]
    assert gains["gap"] == pytest.approx(sum(gaps) / len(gaps))


@pytest.mark.parametrize("start", ["dataset", "prior", "structures"])
def test_optimize_with_constraints(lab: Lab, start: str) -> None:
    structures = [SRTIO3] if start == "structures" else []
    elements = {"include": ["Ba"], "exclude": ["Sr", "F"]}
    job = lab.submit("optimize", structures=structures, start=start, elements=elements)
    assert lab.end(job) == "succeeded"
    for crystal in lab.crystals(job):
        own = set(parse_formula(crystal["formula"]))
        assert "Ba" in own
        assert not own & {"Sr", "F"}


def test_optimize_towards_a_target_has_no_success_rate(lab: Lab) -> None:
    goal = {"property": "formation_energy", "direction": "target", "value": 0.1}
    job = lab.submit("optimize", direction="target", value=0.1, objectives=[goal])
    assert lab.end(job) == "succeeded"
    assert lab.summary(job)["metrics"]["success_rate"] is None
    records = lab.crystals(job)
    order = lab.summary(job)["order"]
    misses = [abs(records[index]["predicted"]["formation_energy"] - 0.1) for index in order]
    assert misses == sorted(misses)


def test_crystals_are_relaxed_where_that_is_asked_for(lab: Lab) -> None:
    """The worker of these tests has the potential `misbehaving_executor.dense`."""
    assert [presence.relax for presence in lab.presences()] == [True]
    job = lab.submit("vary", "pairs", structures=[SRTIO3], num_samples=3, relax=True)
    assert lab.end(job) == "succeeded"
    records = [VariedRecord.model_validate(crystal) for crystal in lab.crystals(job)]
    found = [record.relaxed for record in records if record.valid.structure]
    assert found
    for relaxed in found:
        assert relaxed is not None
        assert relaxed.potential == "dense 1"
        assert "relaxed: dense 1" in relaxed.cif
        assert relaxed.energy_per_atom <= relaxed.energy_per_atom_before
    metrics = lab.summary(job)["metrics"]["relaxation"]
    assert metrics["relaxed"] == pytest.approx(len(found) / 3)
    assert metrics["converged"] == sum(relaxed.converged for relaxed in found) / len(found)
    assert lab.summary(job)["provenance"]["seconds"]["relax"] > 0
    without = lab.submit("vary", structures=[SRTIO3], num_samples=1)
    assert lab.end(without) == "succeeded"
    assert lab.crystals(without)[0]["relaxed"] is None
    assert "relaxation" not in lab.summary(without)["metrics"]


def test_optimize_several_properties(lab: Lab) -> None:
    objectives = [
        {"property": "formation_energy"},
        {"property": "band_gap", "direction": "maximize", "weight": 1000},
    ]
    job = lab.submit("optimize", objectives=objectives, patience=None)
    assert lab.end(job) == "succeeded"
    records = [OptimizedRecord.model_validate(crystal) for crystal in lab.crystals(job)]
    names = [[outcome.property for outcome in record.objectives] for record in records]
    assert names == [["formation_energy", "band_gap"]] * 4
    order = lab.summary(job)["order"]
    gaps = [records[index].predicted["band_gap"] for index in order]  # the weight decides
    assert gaps == sorted(gaps, reverse=True)
    assert set(lab.summary(job)["metrics"]["gain"]) == {"formation_energy", "band_gap"}


@pytest.mark.parametrize(
    ("model", "code", "words"),
    [
        ("nan", "non_finite_sample", "number 1"),
        ("nan_property", "non_finite_sample", "number 2"),
        ("raises", "internal_error", "log"),
        ("no_memory", "out_of_memory", "memory"),
        ("exits", "worker_lost", "exit status 7"),
        ("killed", "worker_lost", "SIGKILL"),
    ],
)
def test_a_failure_has_a_code_and_a_sentence(lab: Lab, model: str, code: str, words: str) -> None:
    failing = lab.submit("generate", model)
    after = lab.submit("generate")
    error = lab.error(failing)
    assert error.code == code
    assert words in error.detail
    assert "secret" not in error.detail
    assert lab.end(after) == "succeeded"


def test_the_traceback_is_in_the_log_alone(lab: Lab) -> None:
    job = lab.submit("generate", "raises")
    lab.error(job)
    assert "a secret of the service" in lab.log.read_text()
    assert job.id in lab.log.read_text()


def test_a_job_over_its_time_stops_and_the_models_stay(
    lab: Lab, worker: subprocess.Popen[bytes]
) -> None:
    lab.end(lab.submit("generate"))
    (executor,) = executors(worker)
    job = lab.submit("generate", "slow", timeout=2, num_samples=4)
    assert lab.error(job).code == "timeout"
    assert len(lab.crystals(job)) == 2
    assert lab.end(lab.submit("generate")) == "succeeded"
    assert executors(worker) == [executor]


def test_a_job_that_ignores_its_time_limit_is_killed(lab: Lab) -> None:
    started = time.monotonic()
    assert lab.error(lab.submit("generate", "stuck", timeout=1)).code == "timeout"
    assert time.monotonic() - started < 15
    assert lab.end(lab.submit("generate")) == "succeeded"


def test_a_cancelled_job_keeps_what_is_done(lab: Lab, worker: subprocess.Popen[bytes]) -> None:
    lab.end(lab.submit("generate"))
    (executor,) = executors(worker)
    job = lab.submit("generate", "slow", num_samples=6)
    wait_until(lambda: lab.progress(job).get("samples_done") == "2", "the first chunk")
    assert lab.state(job) == "started"
    lab.cancel(job)
    assert lab.end(job, timeout=HANG_SECONDS) == "cancelled"
    assert len(lab.crystals(job)) == 2
    summary = lab.summary(job)
    assert summary["state"] == "cancelled"
    assert summary["metrics"]["num_samples"] == 2
    assert float(lab.progress(job)["fraction"]) < 1
    assert executors(worker) == [executor]


def test_a_cancellation_before_the_start_counts(lab: Lab) -> None:
    blocking = lab.submit("generate", "slow", num_samples=4)
    job = lab.submit("optimize")
    lab.cancel(job)
    lab.cancel(blocking)
    assert lab.end(job) == "cancelled"
    assert lab.crystals(job) == []


def test_urgent_jobs_come_first(lab: Lab) -> None:
    blocking = lab.submit("generate", "slow", num_samples=4)
    bulk = lab.submit("generate", priority="bulk")
    urgent = lab.submit("generate", priority="interactive")
    lab.cancel(blocking)
    assert lab.end(bulk) == "succeeded"
    assert lab.end(urgent) == "succeeded"
    urgent.refresh()
    bulk.refresh()
    assert urgent.started_at < bulk.started_at


@pytest.mark.parametrize(
    "function", ["os.system", "worker.executor.job_functions._run", "builtins.print"]
)
def test_no_other_function_can_run(
    lab: Lab, function: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    proof = tmp_path_factory.mktemp("proof") / "ran"
    job = lab.queue().enqueue_call(function, args=(f"touch {proof}",), timeout=10)
    assert lab.error(job).code == "forbidden_job"
    assert not proof.exists()


def test_callbacks_do_not_run(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> None:
    proof = tmp_path_factory.mktemp("proof") / "ran"
    job = lab.submit("generate", "raises")
    lab.redis.hset(job.key, "failure_callback_name", f"os.makedirs:{proof}")
    lab.redis.hset(job.key, "success_callback_name", "os.abort")
    assert lab.error(job).code == "internal_error"
    assert "callback" not in lab.log.read_text()


@pytest.mark.parametrize("arguments", [(), ({"no": "spec"},), ({}, {}), ("text",)])
def test_a_job_without_a_specification_fails(lab: Lab, arguments: tuple[object, ...]) -> None:
    job = lab.queue().enqueue_call(
        "worker.executor.job_functions.generate", args=arguments, timeout=10
    )
    assert lab.error(job).code in ("forbidden_job", "internal_error")


def test_a_job_that_cannot_be_read_is_dropped(lab: Lab) -> None:
    queue = lab.queue()
    lab.redis.hset("rq:job:broken", mapping={"data": b"\x00pickle", "created_at": "yesterday"})
    queue.push_job_id("broken")
    undecodable = lab.submit("generate")
    lab.redis.hset(undecodable.key, "data", b"\x80\x04K\x01.")
    assert lab.end(lab.submit("generate")) == "succeeded"
    assert lab.error(undecodable).code == "forbidden_job"


def test_jobs_of_a_dead_worker_are_seen_even_while_others_are_busy(lab: Lab) -> None:
    busy = lab.submit("generate", "slow", num_samples=4)
    wait_until(lambda: lab.state(busy) == "started", "the start")
    lost, again = lab.submit("generate", priority="bulk"), lab.submit("generate", priority="bulk")
    lab.redis.hset(lost.key, FIELD_ATTEMPTS, MAX_LOST)
    for job in (lost, again):  # like the jobs of a dead worker
        lab.queue("bulk").remove(job)
        lab.redis.hset(LEASES_KEY, job.id, "gone")
    assert lab.end(lost, timeout=HANG_SECONDS) == "failed"
    assert lab.error(lost).code == "worker_lost"
    wait_until(lambda: lab.queue("bulk").job_ids == [again.id], "another try", timeout=HANG_SECONDS)
    assert lab.state(busy) == "started"
    lab.cancel(busy)
    assert lab.end(busy) == "cancelled"
    assert lab.end(again) == "succeeded"


def test_a_job_that_is_on_its_queue_twice_runs_once(lab: Lab) -> None:
    job = lab.submit("generate")
    lab.queue().push_job_id(job.id)
    assert lab.end(job) == "succeeded"
    first = lab.summary(job)
    assert lab.end(lab.submit("generate")) == "succeeded"
    job.refresh()
    assert lab.state(job) == "succeeded"
    assert lab.summary(job) == first
    assert lab.queue().job_ids == []


def test_no_job_starves(lab: Lab) -> None:
    blocking = lab.submit("generate", "slow", num_samples=4)
    wait_until(lambda: lab.state(blocking) == "started", "the start")
    bulk = lab.submit("generate", priority="bulk", num_samples=1)
    urgent = [
        lab.submit("generate", priority="interactive", num_samples=1) for _ in range(PATIENCE + 4)
    ]
    lab.cancel(blocking)
    for job in (bulk, *urgent):
        assert lab.end(job) == "succeeded"
        job.refresh()
    before = [job for job in urgent if job.started_at < bulk.started_at]
    assert 0 < len(before) <= PATIENCE


def test_the_worker_is_back_to_idle(lab: Lab) -> None:
    wait_until(lambda: [p.state for p in lab.presences()] == ["idle"], "an idle worker")
    assert json.loads(lab.presences()[0].model_dump_json())["models"]
