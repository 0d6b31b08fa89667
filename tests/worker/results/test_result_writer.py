"""A job's files: stored whole, continued by another process exactly, cleared at the end."""

import json
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from cdvae.metrics.crystal_report import describe
from cdvae_schema.job_results import SUMMARY
from cdvae_schema.outcomes import Provenance, ResultSummary
from cdvae_service.results.result_store import DirectoryStore
from worker.results.analysis import CrystalProvenance, CrystalSlice, analyze
from worker.results.records import make_record
from worker.results.result_writer import Chunk, ResultWriter

ORIGIN = CrystalProvenance("perov-5@1", "ab" * 32, 7, "fast 50")


def chunk(first: int, number: int) -> Chunk:
    """Crystals with coordinates that no decimal fraction of a few digits has."""
    generator = np.random.default_rng(first)
    structures = [
        Structure(
            Lattice(np.eye(3) * 5 + generator.random((3, 3))),
            ["Na", "Cl"],
            generator.random((2, 3)),
        )
        for _ in range(number)
    ]
    findings = analyze(CrystalSlice.of(structures, first, ORIGIN))
    pairs = enumerate(zip(structures, findings, strict=True), first)
    records = [make_record(i, *pair, {"band_gap": 1.5}, True) for i, pair in pairs]
    return Chunk(records, structures, nfe=50)


def summary() -> ResultSummary:
    provenance = Provenance.model_validate(
        {
            "model": "m",
            "version": "1",
            "weights_sha256": "ab" * 32,
            "seed": 1,
            "sampler": {"name": "ancestral", "nfe": 1},
            "nfe": 1,
            "device": "cpu",
            "software": {},
            "seconds": {"queue": 0.0, "sample": 0.0, "check": 0.0},
        }
    )
    return ResultSummary(state="succeeded", metrics={"num_samples": 3}, provenance=provenance)


def test_another_process_goes_on_with_the_very_same_crystals(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    first = ResultWriter(store, "job")
    first.add(chunk(0, 2))
    first.add(chunk(2, 1))
    second = ResultWriter(store, "job")
    assert [one.crystals for one in second.chunks] == [range(2), range(2, 3)]
    assert second.records() == first.records()
    assert [one.nfe for one in second.chunks] == [50, 50]
    for before, after in zip(first.structures(), second.structures(), strict=True):
        assert np.array_equal(before.lattice.matrix, after.lattice.matrix)
        assert np.array_equal(before.frac_coords, after.frac_coords)
        assert before.species == after.species
        assert describe(before) == describe(after)


@pytest.mark.parametrize("missing", ["chunk-00001.json", "resume-00001.json"])
def test_half_of_a_chunk_is_none(tmp_path: Path, missing: str) -> None:
    store = DirectoryStore(tmp_path)
    folder = ResultWriter(store, "job")
    folder.add(chunk(0, 2))
    folder.add(chunk(2, 1))
    store.delete("job", [missing])
    assert len(ResultWriter(store, "job").chunks) == 1


def test_duplicates_are_marked_where_there_are_any(tmp_path: Path) -> None:
    folder = ResultWriter(DirectoryStore(tmp_path), "job")
    folder.add(chunk(0, 2))
    folder.add(chunk(2, 1))
    untouched = (tmp_path / "job" / "chunk-00000.json").stat().st_mtime_ns
    folder.mark_duplicates([None, None, 0])
    stored = json.loads((tmp_path / "job" / "chunk-00001.json").read_text())
    assert [crystal["duplicate_of"] for crystal in stored] == [0]
    assert (tmp_path / "job" / "chunk-00000.json").stat().st_mtime_ns == untouched
    assert [r.duplicate_of for r in folder.records()] == [None, None, 0]


def test_a_finished_folder_holds_results_only(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    folder = ResultWriter(store, "job")
    folder.add(chunk(0, 2))
    assert folder.summary() is None
    folder.finish(summary())
    assert sorted(store.names("job")) == ["chunk-00000.json", SUMMARY]
    assert ResultWriter(store, "job").summary() == summary()


@pytest.mark.parametrize("job_id", ["../escape", "", "a/b"])
def test_a_job_id_cannot_leave_the_results(tmp_path: Path, job_id: str) -> None:
    with pytest.raises(ValueError, match="job id"):
        ResultWriter(DirectoryStore(tmp_path), job_id)
