from collections.abc import Callable

import numpy as np
import pytest
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from cdvae.data.dataset import CrystalDataset
from cdvae.data.structures import to_structures
from cdvae.metrics.fingerprint import TOLERANCE, fingerprint, identify
from cdvae.metrics.novelty import KEYS, VECTORS, NoveltyIndex

Disguise = Callable[[Structure], Structure]


def shaken(structure: Structure, rms: float, strain: float, seed: int) -> Structure:
    """Return a copy displaced by `rms` (V/N)^(1/3) and strained."""
    rng = np.random.default_rng(seed)
    matrix = structure.lattice.matrix @ (np.eye(3) + strain * rng.normal(size=(3, 3)) / 3)
    length_scale = (structure.volume / len(structure)) ** (1 / 3)
    steps = rng.normal(size=(len(structure), 3)) * rms * length_scale / np.sqrt(3)
    frac_coords = structure.frac_coords + steps @ np.linalg.inv(matrix)
    return Structure(Lattice(matrix), structure.species, frac_coords)


def test_fingerprint_of_rocksalt_is_its_shells(rocksalt: Structure) -> None:
    """There are six unlike neighbors at a/2 and eight at a·√3/2, and twelve like ones at a/√2."""
    found = fingerprint(rocksalt)
    assert found.formula == ((8, 1), (12, 1))
    edge = 2.0  # in units of (V/N)^(1/3): eight atoms in the cell
    unlike = [edge / 2] * 6 + [edge * np.sqrt(3) / 2] * 2
    like = [edge / np.sqrt(2)] * 8
    assert found.distances[0] == pytest.approx(np.array([like, unlike]), abs=1e-6)
    assert found.distances[1] == pytest.approx(np.array([unlike, like]), abs=1e-6)


def test_fingerprint_averages_over_the_atoms_of_an_element() -> None:
    """Three atoms at 0, 1.0 and 2.5 Å: their nearest neighbors are 1.0, 1.0 and 1.5 Å away."""
    sites = [[0, 0, 0], [1.0, 0, 0], [2.5, 0, 0]]
    cell = Lattice.orthorhombic(6, 9, 9)
    found = fingerprint(Structure(cell, ["H"] * 3, sites, coords_are_cartesian=True))
    length_scale = (6 * 9 * 9 / 3) ** (1 / 3)
    assert found.distances[0, 0, 0] * length_scale == pytest.approx(3.5 / 3)


def test_fingerprint_ignores_the_description(perovskite: Structure, disguised: Disguise) -> None:
    grown = disguised(perovskite)
    grown.scale_lattice(grown.volume * 1.3)
    assert fingerprint(perovskite).difference(fingerprint(grown)) < 1e-6
    primitive = Structure(Lattice.cubic(3).matrix, ["Po"], [[0.2, 0.3, 0.4]])
    assert fingerprint(primitive).difference(fingerprint(disguised(primitive))) < 1e-6


def test_fingerprint_sees_which_site_an_element_takes(perovskite: Structure) -> None:
    swapped = perovskite.copy()
    swapped.replace_species({"Sr": "Ti", "Ti": "Sr"})
    assert fingerprint(perovskite).difference(fingerprint(swapped)) > 3 * TOLERANCE
    barium = perovskite.copy()
    barium.replace_species({"Sr": "Ba"})
    assert fingerprint(perovskite).difference(fingerprint(barium)) == np.inf


def test_rare_elements_find_their_neighbors(perovskite: Structure) -> None:
    perovskite.make_supercell(2)
    perovskite.replace(0, "Ba")
    assert fingerprint(perovskite).distances.shape == (4, 4, 8)
    length_scale = (perovskite.volume / len(perovskite)) ** (1 / 3)
    barium = fingerprint(perovskite).distances[-1, -1, :6] * length_scale
    assert barium == pytest.approx(2 * 3.905)


def test_known_crystals_are_not_novel(
    perovskite: Structure, rocksalt: Structure, disguised: Disguise
) -> None:
    index = NoveltyIndex.from_structures([perovskite, rocksalt])
    assert len(index) == 2
    assert not index.is_novel(identify(disguised(perovskite)))
    assert not index.is_novel(identify(shaken(rocksalt, 0.03, 0.02, seed=0)))
    swapped = perovskite.copy()
    swapped.replace_species({"Sr": "Ti", "Ti": "Sr"})
    assert index.is_novel(identify(swapped))
    assert index.is_novel(identify(shaken(perovskite, 0.3, 0.0, seed=0)))
    assert index.is_novel(identify(Structure(Lattice.cubic(4), ["Cs", "Cl"], [[0] * 3, [0.5] * 3])))
    assert index.is_novel(identify(Structure(Lattice.cubic(4), ["H"], [[np.nan, 0, 0]])))


def test_stored_arrays_give_the_same_answers(perovskite: Structure, rocksalt: Structure) -> None:
    polonium = Structure(Lattice.cubic(3), ["Po"], [[0, 0, 0]])
    index = NoveltyIndex.from_structures([perovskite, rocksalt, polonium, perovskite])
    arrays = index.to_arrays()
    assert arrays[KEYS].shape == (4, 6)
    assert arrays[VECTORS].shape == (8 * (9 + 4 + 1 + 9),)
    again = NoveltyIndex.from_arrays(arrays)
    assert len(again) == 4
    for structure in (perovskite, rocksalt, polonium, shaken(perovskite, 0.05, 0, seed=1)):
        own = identify(structure)
        assert again.distance(own) == pytest.approx(index.distance(own), abs=2e-3)
    with pytest.raises(ValueError, match="accounts for"):
        NoveltyIndex.from_arrays({KEYS: arrays[KEYS], VECTORS: arrays[VECTORS][:-1]})


def test_an_empty_index_finds_everything_novel(perovskite: Structure) -> None:
    index = NoveltyIndex.from_arrays(NoveltyIndex([]).to_arrays())
    assert len(index) == 0
    assert index.is_novel(identify(perovskite))


@pytest.mark.data
def test_tolerance_lies_between_noise_and_other_crystals(
    real_data: Callable[[str], CrystalDataset],
) -> None:
    """Noisy copies of Perov-5 crystals are known; no validation crystal is in the test split."""
    structures = to_structures(real_data("perov_5/test").select(range(400)).crystals)
    index = NoveltyIndex.from_structures(structures)
    moved = [shaken(s, 0.03, 0.02, seed=i) for i, s in enumerate(structures)]
    noisy = [index.distance(identify(structure)) for structure in moved]
    assert np.mean(np.array(noisy) <= TOLERANCE) >= 0.99
    others = [index.distance(identify(s)) for s in to_structures(real_data("perov_5/val").crystals)]
    finite = np.array(others)[np.isfinite(others)]
    assert len(finite) > 50
    assert finite.min() > 2 * TOLERANCE
