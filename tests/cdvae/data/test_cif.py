import io

import ase.io
import gemmi
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure
from pymatgen.io.cif import CifParser

from cdvae.data.cif_writer import write_cif
from cdvae.metrics.validity import structure_valid

PROVENANCE = {"model": "perov-5@1", "weights_sha256": "ab" * 32, "seed": 7, "index": 3}

# pymatgen's reader sorts by electronegativity.
SPECIES = ["Sr", "Ti", "H", "Pb", "N", "O"]

lengths = st.floats(3.0, 15.0)
angles = st.floats(65.0, 110.0)
coordinate = st.floats(0.0, 1.0, exclude_max=True)


@st.composite
def structures(draw: st.DrawFn) -> Structure:
    cell = Lattice.from_parameters(*(draw(lengths) for _ in "abc"), *(draw(angles) for _ in "abc"))
    frac_coords = [[draw(coordinate) for _ in "xyz"] for _ in range(draw(st.integers(1, 6)))]
    return Structure(cell, SPECIES[: len(frac_coords)], frac_coords)


def read_gemmi(text: str) -> tuple[np.ndarray, np.ndarray, list[int]]:
    small = gemmi.make_small_structure_from_block(gemmi.cif.read_string(text).sole_block())
    matrix = np.array(small.cell.orth.mat.tolist()).T
    sites = small.sites
    return (
        matrix,
        np.array([s.fract.tolist() for s in sites]),
        [s.element.atomic_number for s in sites],
    )


def read_ase(text: str) -> tuple[np.ndarray, np.ndarray, list[int]]:
    atoms = ase.io.read(io.StringIO(text), format="cif")
    return atoms.cell.array, atoms.get_scaled_positions(wrap=False), atoms.numbers.tolist()


def read_pymatgen(text: str) -> tuple[np.ndarray, np.ndarray, list[int]]:
    # By default pymatgen moves coordinates that are within 1e-4 of 1/3 and 2/3.
    (found,) = CifParser.from_str(text, frac_tolerance=0).parse_structures(primitive=False)
    return found.lattice.matrix, found.frac_coords, [s.specie.Z for s in found]


@pytest.mark.parametrize("read", [read_gemmi, read_ase, read_pymatgen])
@settings(deadline=None, max_examples=40)
@given(structures().filter(structure_valid))  # readers merge atoms at one position
def test_three_programs_read_the_same_crystal_back(read, structure: Structure) -> None:
    matrix, frac_coords, numbers = read(write_cif(structure, PROVENANCE))
    assert numbers == [site.specie.Z for site in structure]
    # Metric tensors compare cells in any orientation.
    assert np.abs(np.linalg.norm(matrix, axis=1) - structure.lattice.abc).max() < 1e-6
    assert matrix @ matrix.T == pytest.approx(structure.lattice.metric_tensor, abs=1e-5)
    shift = frac_coords - structure.frac_coords
    moved = (shift - np.round(shift)) @ structure.lattice.matrix
    assert np.linalg.norm(moved, axis=1).max() <= 1e-6


def test_provenance_is_there_for_readers_and_programs(perovskite: Structure) -> None:
    text = write_cif(perovskite, PROVENANCE)
    block = gemmi.cif.read_string(text).sole_block()
    assert "# weights_sha256: " + "ab" * 32 in text.splitlines()
    method = " ".join(gemmi.cif.as_string(block.find_value("_audit_creation_method")).split())
    for key, value in PROVENANCE.items():
        assert f"{key}: {value}" in method
    assert block.name == "SrTiO3_3"


def test_many_crystals_share_one_file(perovskite: Structure) -> None:
    text = "".join(write_cif(perovskite, {"index": index}) for index in range(3))
    assert [block.name for block in gemmi.cif.read_string(text)] == [
        f"SrTiO3_{i}" for i in range(3)
    ]
    assert len(ase.io.read(io.StringIO(text), format="cif", index=":")) == 3


def test_provenance_cannot_break_out_of_its_place(perovskite: Structure) -> None:
    evil = {
        "note": "x\n;\ndata_evil\n_cell_length_a 1\n\"'# é ",
        "index": "a b\n#",
        "long": "data_x " * 40,
    }
    text = write_cif(perovskite, evil)
    assert len(gemmi.cif.read_string(text)) == 1
    assert read_gemmi(text)[0] == pytest.approx(perovskite.lattice.matrix, abs=1e-6)
    assert len(read_ase(text)[2]) == len(read_pymatgen(text)[2]) == 5
    assert text.isascii()


def test_non_finite_crystals_have_no_cif(perovskite: Structure) -> None:
    broken = Structure(perovskite.lattice, ["H"], [[np.nan, 0, 0]])
    with pytest.raises(ValueError, match="non-finite"):
        write_cif(broken, {})
    with pytest.raises(ValueError, match="no sites"):
        write_cif(Structure(perovskite.lattice, [], []), {})
