"""Records and their files."""

import json
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from cdvae.metrics.report import describe
from schema.crystals import CrystalRecord
from schema.results import chunk_paths
from worker.records import Origin, ResultFolder, is_valid, make_record

ORIGIN = Origin("perov-5@1", "ab" * 32, 7, "fast 50")


def record(index: int, structure: Structure | None = None) -> CrystalRecord:
    crystal = structure or Structure(Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
    return make_record(index, crystal, describe(crystal), {"band_gap": 1.5}, True, ORIGIN)


def test_a_record_says_what_the_crystal_is_and_where_it_comes_from() -> None:
    salt = record(4)
    assert salt.reduced_formula == "NaCl"
    assert salt.volume == pytest.approx(5.64**3)
    assert salt.min_distance == pytest.approx(5.64 * 3**0.5 / 2)
    assert salt.spacegroup is not None
    assert salt.spacegroup.number == 221
    assert is_valid(salt)
    for words in ("perov-5@1", "ab" * 32, "seed: 7", "index: 4", "fast 50"):
        assert words in salt.cif
    again = Structure.from_str(salt.cif, fmt="cif")
    assert again.lattice.matrix == pytest.approx(np.array(salt.lattice.matrix), abs=1e-6)


def test_overlapping_atoms_make_an_invalid_record() -> None:
    overlap = Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0.01, 0, 0]])
    bad = record(0, overlap)
    assert not is_valid(bad)
    assert bad.valid.composition
    assert bad.spacegroup is None


def test_chunks_are_stored_and_duplicates_marked_later(tmp_path: Path) -> None:
    folder = ResultFolder(tmp_path, "job")
    folder.add([record(0), record(1)])
    folder.add([record(2)])
    untouched = chunk_paths(folder.folder)[0].stat().st_mtime_ns
    folder.mark_duplicates([None, None, 0])
    stored = [json.loads(path.read_text()) for path in chunk_paths(folder.folder)]
    assert [[crystal["duplicate_of"] for crystal in chunk] for chunk in stored] == [
        [None, None],
        [0],
    ]
    assert chunk_paths(folder.folder)[0].stat().st_mtime_ns == untouched
    assert [r.duplicate_of for r in folder.records()] == [None, None, 0]


def test_a_second_attempt_starts_from_nothing(tmp_path: Path) -> None:
    ResultFolder(tmp_path, "job").add([record(0)])
    assert chunk_paths(ResultFolder(tmp_path, "job").folder) == []


@pytest.mark.parametrize("job_id", ["../escape", "", "a/b"])
def test_a_job_id_cannot_leave_the_results(tmp_path: Path, job_id: str) -> None:
    with pytest.raises(ValueError, match="job id"):
        ResultFolder(tmp_path, job_id)
