"""Records and their files."""

import numpy as np
import pytest
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from cdvae_schema.crystal_records import CrystalRecord
from worker.results.analysis import CrystalProvenance, CrystalSlice, analyze
from worker.results.records import is_valid, make_record

ORIGIN = CrystalProvenance("perov-5@1", "ab" * 32, 7, "fast 50")


def record(index: int, structure: Structure | None = None) -> CrystalRecord:
    crystal = structure or Structure(Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
    (finding,) = analyze(CrystalSlice.of([crystal], index, ORIGIN))
    return make_record(index, crystal, finding, {"band_gap": 1.5}, True)


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
