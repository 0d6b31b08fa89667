import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from cdvae.data.cell_reduction import CrystalArrays, parse_cif, reduce, wrap
from cdvae.data.structures import from_structure, to_structures

lengths = st.floats(2.0, 12.0)
angles = st.floats(50.0, 110.0)
unit = st.floats(0.0, 1.0, exclude_max=True)


def rebuild(arrays: CrystalArrays) -> Structure:
    return Structure(Lattice(arrays.lattice), arrays.atomic_numbers.tolist(), arrays.frac_coords)


@st.composite
def structures(draw: st.DrawFn) -> Structure:
    """Draw a triclinic cell, perhaps skewed, with one to four atoms."""
    cell = Lattice.from_parameters(*(draw(lengths) for _ in "abc"), *(draw(angles) for _ in "abc"))
    shear = draw(st.integers(-3, 3))
    matrix = cell.matrix.copy()
    matrix[0] += shear * matrix[1]
    atoms = draw(st.integers(1, 4))
    frac_coords = [[draw(unit) for _ in "xyz"] for _ in range(atoms)]
    atomic_numbers = [draw(st.sampled_from([3, 8, 22])) for _ in range(atoms)]
    return Structure(Lattice(matrix), atomic_numbers, frac_coords)


def possible(structure: Structure) -> bool:
    return np.isfinite(structure.lattice.matrix).all() and structure.volume > 3.0


def pair_distances(structure: Structure) -> np.ndarray:
    return np.sort(structure.distance_matrix.ravel())


@settings(deadline=None, max_examples=60)
@given(structures().filter(possible))
def test_reduction_keeps_volume_species_and_all_distances(structure: Structure) -> None:
    reduced = rebuild(reduce(structure))
    assert reduced.volume == pytest.approx(structure.volume, rel=1e-6)
    assert [s.specie.Z for s in reduced] == [s.specie.Z for s in structure]
    assert pair_distances(reduced) == pytest.approx(pair_distances(structure), abs=1e-5)


@settings(deadline=None, max_examples=60)
@given(structures().filter(possible))
def test_reduced_lattice_is_canonical_right_handed_and_short(structure: Structure) -> None:
    lattice = reduce(structure).lattice
    assert lattice[2, :2] == pytest.approx(0.0, abs=1e-12)
    assert lattice[0, 1] == pytest.approx(0.0, abs=1e-12)
    assert np.linalg.det(lattice) > 0
    lengths = np.linalg.norm(lattice, axis=1)
    assert lengths[0] <= lengths[1] + 1e-4
    assert lengths[1] <= lengths[2] + 1e-4
    assert lengths.prod() <= np.prod(structure.lattice.abc) * (1 + 1e-6)


def test_reduction_does_not_mirror() -> None:
    """The signed volume of four different atoms distinguishes a crystal from its mirror image."""
    for handedness in (1, -1):
        matrix = Lattice.from_parameters(4, 5, 6, 80, 95, 100).matrix * [1, 1, handedness]
        frac_coords = np.array([[0.1, 0.1, 0.1], [0.4, 0.1, 0.2], [0.2, 0.4, 0.1], [0.1, 0.2, 0.5]])
        structure = Structure(Lattice(matrix), [3, 8, 22, 26], frac_coords)
        before = _signed_volume(structure)
        after = _signed_volume(rebuild(reduce(structure)))
        assert after == pytest.approx(before, rel=1e-5)
        assert np.sign(before) == handedness


def _signed_volume(structure: Structure) -> float:
    origin = structure[0]
    vectors = []
    for index in (1, 2, 3):
        _, image = origin.distance_and_image(structure[index])
        step = structure[index].frac_coords + image - origin.frac_coords
        vectors.append(structure.lattice.get_cartesian_coords(step))
    return float(np.linalg.det(vectors))


def test_equal_crystals_in_other_cells_and_frames_match(perovskite: Structure) -> None:
    turned = perovskite.copy()
    turned.make_supercell([[1, 1, 0], [0, 1, 0], [0, 2, 1]])
    reduced = rebuild(reduce(turned))
    assert reduced.lattice.parameters == pytest.approx((3.905,) * 3 + (90.0,) * 3, abs=1e-6)
    assert StructureMatcher().fit(reduced, perovskite)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s: Structure(s.lattice, [], []), "no sites"),
        (lambda s: s.replace(0, {"Sr": 0.5}) or s, "occupancy"),
        (lambda s: s.replace(0, "X") or s, "dummy"),
        (lambda s: Structure(Lattice(np.full((3, 3), np.nan)), ["H"], [[0, 0, 0]]), "finite"),
        (lambda s: Structure(s.lattice, ["H"], [[np.nan, 0, 0]]), "finite"),
        (lambda s: Structure(Lattice(np.diag([1, 1, 1e-9])), ["H"], [[0, 0, 0]]), "volume"),
    ],
)
def test_impossible_structures_are_refused(perovskite: Structure, change, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        reduce(change(perovskite))


def test_wrap_never_returns_one() -> None:
    values = wrap(np.array([[-1e-12, 1.0, 1 - 1e-12], [-0.25, 7.5, 0.0]]))
    assert values.dtype == np.float32
    assert values.tolist() == [[0.0, 0.0, 0.0], [0.75, 0.5, 0.0]]


def test_structures_survive_the_way_through_tensors(perovskite: Structure) -> None:
    perovskite.add_oxidation_state_by_element({"Sr": 2, "Ti": 4, "O": -2})
    batch = from_structure(perovskite)
    (back,) = to_structures(batch)
    assert batch.atomic_numbers.tolist() == [38, 22, 8, 8, 8]
    assert batch.lattice.shape == (1, 3, 3)
    assert StructureMatcher().get_rms_dist(perovskite.remove_oxidation_states(), back)[0] < 1e-6


def test_parse_cif_wants_exactly_one_structure(perovskite: Structure) -> None:
    text = perovskite.to(fmt="cif")
    assert len(parse_cif(text)) == 5
    with pytest.raises(ValueError, match="2 structures"):
        parse_cif(text + text.replace("data_SrTiO3", "data_second"))
    with pytest.raises(ValueError):  # noqa: PT011 (pymatgen words it)
        parse_cif("data_empty\n")
