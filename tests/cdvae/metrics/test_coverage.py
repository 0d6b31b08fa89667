import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from cdvae.data.dataset import CrystalDataset
from cdvae.data.structures import to_structures
from cdvae.metrics import coverage_fingerprint as module
from cdvae.metrics import fingerprint_cache
from cdvae.metrics.coverage import Thresholds, coverage, thresholds
from cdvae.metrics.coverage_fingerprint import (
    CoverageFingerprints,
    MissingFeaturizerError,
    coverage_fingerprint,
    featurizer_version,
)
from cdvae.metrics.fingerprint_cache import coverage_fingerprints

Disguise = Callable[[Structure], Structure]
NEEDLE = Structure(Lattice.orthorhombic(0.3, 5, 5), ["H"], [[0, 0, 0]])


def flat(*points: tuple[float, float]) -> CoverageFingerprints:
    """Return one-dimensional fingerprints (structure, composition); NaN for none."""
    rows = np.array(points, dtype=float).reshape(-1, 2)
    return CoverageFingerprints(rows[:, :1], rows[:, 1:])


NONE = (np.nan, np.nan)


def test_separate_and_joint_neighbors_differ() -> None:
    """An example worked out by hand, with thresholds 0.2 and 4.

    Reference R0 = (0, 0): G0 is near in structure only, G1 in composition only, so R0 is covered by
    separate neighbors and not jointly. R1 = (5, 50): G2 is within both. R2 = (9, 90): nothing is
    near. G0 and G1 each have R0 near in one and nothing in the other; G3 has the structure of R0
    and the composition of R1; G4 has no fingerprint.
    """
    reference = flat((0, 0), (5, 50), (9, 90))
    generated = flat((0.1, 20), (3, 3), (5.2, 46), (0.2, 50), NONE)
    separate, joint = coverage(generated, reference, Thresholds(0.2001, 4))
    assert separate.reference.tolist() == [True, True, False]
    assert separate.generated.tolist() == [False, False, True, True, False]
    assert joint.reference.tolist() == [False, True, False]
    assert joint.generated.tolist() == [False, False, True, False, False]
    assert (separate.recall, joint.recall) == pytest.approx((2 / 3, 1 / 3))
    assert (separate.precision, joint.precision) == pytest.approx((2 / 5, 1 / 5))


def test_distance_is_euclidean_and_thresholds_are_inclusive() -> None:
    zeros = CoverageFingerprints(np.zeros((1, 2)), np.zeros((1, 2)))
    other = CoverageFingerprints(np.array([[0.0, 3.0]]), np.array([[3.0, 4.0]]))
    assert coverage(zeros, other, Thresholds(3.0, 5.0))[1].recall == 1.0
    assert coverage(zeros, other, Thresholds(3.0, 4.999))[1].recall == 0.0
    assert coverage(zeros, other, Thresholds(2.999, 5.0))[1].recall == 0.0


@pytest.mark.parametrize("chunk", [1, 7, 512])
def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    rng = np.random.default_rng(0)
    first = CoverageFingerprints(rng.normal(size=(40, 3)), rng.normal(size=(40, 3)))
    second = CoverageFingerprints(rng.normal(size=(25, 3)), rng.normal(size=(25, 3)))
    monkeypatch.setattr("cdvae.metrics.coverage.CHUNK", chunk)
    structure = np.linalg.norm(second.structure[:, None] - first.structure, axis=-1) <= 1
    composition = np.linalg.norm(second.composition[:, None] - first.composition, axis=-1) <= 1.5
    separate, joint = coverage(first, second, Thresholds(1, 1.5))
    assert (separate.reference == structure.any(1) & composition.any(1)).all()
    assert (separate.generated == structure.any(0) & composition.any(0)).all()
    assert (joint.reference == (structure & composition).any(1)).all()
    assert (joint.generated == (structure & composition).any(0)).all()
    assert 0 < joint.recall < separate.recall < 1


def test_nothing_generated_that_can_be_compared() -> None:
    for found in coverage(flat(NONE, NONE), flat((0, 0)), Thresholds(1, 1)):
        assert (found.recall, found.precision) == (0.0, 0.0)
    with pytest.raises(ValueError, match="0 generated and 1 reference"):
        coverage(flat(), flat((0, 0)), Thresholds(1, 1))


def test_thresholds_of_the_paper() -> None:
    assert thresholds("Perov-5") == thresholds("Carbon-24") == Thresholds(0.2, 4.0)
    assert thresholds("MP-20") == Thresholds(0.4, 10.0)
    with pytest.raises(ValueError, match="'Perov-6'"):
        thresholds("Perov-6")


def test_composition_fingerprint_of_rocksalt(rocksalt: Structure) -> None:
    """Magpie's min, max, range, mean, deviation and mode: Z 8 and 12, Pauling's 3.44 and 1.31, …"""
    magpie = coverage_fingerprint(rocksalt)[61:]
    means, stds = module._scaler()
    raw = magpie * stds + means
    number, weight, electronegativity = raw[:6], raw[12:18], raw[42:48]
    assert number == pytest.approx([8, 12, 4, 10, 2, 8])
    assert electronegativity == pytest.approx([1.31, 3.44, 2.13, 2.375, 1.065, 1.31])
    assert weight[:4] == pytest.approx([15.9994, 24.305, 8.3056, 20.1522], abs=1e-4)
    assert means[0] == pytest.approx(21.194441759304013)  # first published constants
    assert len(means) == len(stds) == 132


def test_structure_fingerprint_of_rocksalt_is_octahedral(rocksalt: Structure) -> None:
    """Six bonds at right angles: weight of CN 6 and order parameter of the octahedron are 1."""
    found = coverage_fingerprint(rocksalt)[:61]
    assert found[22] == pytest.approx(1.0, abs=1e-2)  # wt CN_6
    assert found[24] == pytest.approx(1.0, abs=1e-2)  # octahedral CN_6
    assert np.delete(found, [22, 23, 24, 25]) == pytest.approx(np.zeros(57), abs=1e-2)


def test_structure_fingerprint_averages_over_sites(perovskite: Structure) -> None:
    """SrTiO3 with matminer 0.10.1: Sr is a cuboctahedron (1/5 of the sites), Ti an octahedron."""
    found = coverage_fingerprint(perovskite)[:61]
    expected = {2: 0.3105, 6: 0.0361, 7: 0.3105, 22: 0.4895, 23: 0.0979, 24: 0.4895, 25: 0.2447}
    expected |= {44: 0.2, 45: 0.2, 47: 0.0382, 48: 0.1149}
    dense = [expected.get(i, 0.0) for i in range(61)]
    assert found == pytest.approx(np.array(dense), abs=1e-3)


def test_fingerprint_ignores_the_description(rocksalt: Structure, disguised: Disguise) -> None:
    assert coverage_fingerprint(disguised(rocksalt)) == pytest.approx(
        coverage_fingerprint(rocksalt), abs=1e-4
    )


def test_what_cannot_be_fingerprinted_is_nan(perovskite: Structure) -> None:
    broken = Structure(Lattice.cubic(4), ["H"], [[np.nan, 0, 0]])
    lawrencium = Structure(Lattice.cubic(4), ["Og"], [[0, 0, 0]])
    for structure in (None, broken, NEEDLE, lawrencium):
        assert np.isnan(coverage_fingerprint(structure)).all()
    found = coverage_fingerprints([perovskite, None, perovskite])
    assert found.known.tolist() == [True, False, True]


def test_cache_is_kept_and_mended(
    perovskite: Structure,
    rocksalt: Structure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fingerprint_cache, "PART", 2)
    crystals = [perovskite, rocksalt, None]
    calls: list[Structure | None] = []

    def counted(structure: Structure | None) -> np.ndarray:
        calls.append(structure)
        return coverage_fingerprint(structure)

    monkeypatch.setattr(fingerprint_cache, "coverage_fingerprint", counted)
    seen: list[tuple[int, int]] = []
    first = coverage_fingerprints(crystals, tmp_path, 1, lambda *done: seen.append(done))
    assert seen == [(2, 3), (3, 3)]
    assert len(calls) == 3
    files = sorted(tmp_path.iterdir())
    assert [file.suffix for file in files] == [".npz", ".npz"]  # no temporary file is left
    again = coverage_fingerprints(crystals, tmp_path)
    assert len(calls) == 3  # all from disk
    np.testing.assert_array_equal(again.structure, first.structure)
    np.testing.assert_array_equal(again.composition, first.composition)
    # A changed crystal, a flipped bit and a truncated file are computed again.
    moved = perovskite.copy()
    moved.translate_sites([1], [0.01, 0, 0])
    coverage_fingerprints([moved, rocksalt, None], tmp_path)
    assert len(calls) == 5
    for file in files:
        content = bytearray(file.read_bytes())
        content[len(content) // 3] ^= 0xFF
        file.write_bytes(content)
    mended = coverage_fingerprints(crystals, tmp_path)
    np.testing.assert_array_equal(mended.structure, first.structure)
    assert len(calls) == 8
    files[0].write_bytes(files[0].read_bytes()[:50])
    files[1].write_bytes(b"")
    coverage_fingerprints(crystals, tmp_path)
    assert len(calls) == 11
    monkeypatch.setattr(fingerprint_cache, "featurizer_version", lambda: "another")
    coverage_fingerprints(crystals, tmp_path)
    assert len(calls) == 14


def test_without_matminer_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(module, "version", missing)
    with pytest.raises(MissingFeaturizerError, match=r"cdvae-service\[evaluation\]"):
        featurizer_version()


@pytest.mark.data
def test_a_set_covers_itself(real_data: Callable[[str], CrystalDataset]) -> None:
    structures = to_structures(real_data("perov_5/test").select(range(60)).crystals)
    found = coverage_fingerprints(structures)
    assert found.known.all()
    for kind in coverage(found, found, Thresholds(0.0, 0.0)):
        assert (kind.recall, kind.precision) == (1.0, 1.0)
    separate, _ = coverage(coverage_fingerprints(structures[:1]), found, thresholds("Perov-5"))
    assert separate.recall < 0.2
