import dataclasses
import json
import time
from collections.abc import Callable

import numpy as np
import pytest
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure
from scipy.stats import wasserstein_distance

from cdvae.metrics.crystal_report import CrystalReport, describe, summarize
from cdvae.metrics.distribution import wasserstein_to_histogram, wasserstein_to_quantiles

REFERENCE = {
    "density_quantiles": np.linspace(3.0, 7.0, 101).tolist(),
    "num_elements_histogram": {"2": 0.5, "3": 0.5},
    "property_quantiles": {
        "band_gap": np.linspace(0, 1, 101).tolist(),
        "formation_energy": np.linspace(-1, 1, 101).tolist(),
    },
}


def test_report_of_strontium_titanate(perovskite: Structure) -> None:
    report = describe(perovskite)
    assert (report.formula, report.reduced_formula) == ("Sr1 Ti1 O3", "SrTiO3")
    assert (report.num_atoms, report.num_elements) == (5, 3)
    assert (report.spacegroup_number, report.spacegroup_symbol) == (221, "Pm-3m")
    assert report.density == pytest.approx(5.12, abs=0.01)  # g/cm³
    assert report.volume == pytest.approx(3.905**3)
    assert report.min_distance == pytest.approx(3.905 / 2)
    assert report.lattice["alpha"] == pytest.approx(90)
    assert report.lattice["matrix"][0] == pytest.approx([3.905, 0, 0])
    assert report.valid
    json.dumps(dataclasses.asdict(report), allow_nan=False)


def test_description_does_not_matter(
    perovskite: Structure, disguised: Callable[[Structure], Structure]
) -> None:
    report, other = describe(perovskite), describe(disguised(perovskite))
    assert other.spacegroup_number == report.spacegroup_number
    assert other.density == pytest.approx(report.density)
    assert other.min_distance == pytest.approx(report.min_distance)
    assert other.reduced_formula == report.reduced_formula


def test_noise_of_a_few_hundredths_keeps_the_symmetry(perovskite: Structure) -> None:
    perovskite.translate_sites([1], [0.005, 0, 0])  # 0.02 Å
    assert describe(perovskite).spacegroup_number == 221
    perovskite.translate_sites([1], [0.06, 0, 0])  # 0.25 Å
    assert describe(perovskite).spacegroup_number == 99


def atoms(lattice: object, *frac_coords: list[float]) -> Structure:
    return Structure(Lattice(lattice), ["H"] * len(frac_coords), list(frac_coords))


@pytest.mark.parametrize(
    "structure",
    [
        atoms(np.eye(3) * 4, [np.nan, 0, 0]),
        atoms(np.full((3, 3), np.nan), [0, 0, 0]),
        atoms(np.zeros((3, 3)), [0, 0, 0]),
        atoms(np.diag([4, 4, 1e-7]), [0, 0, 0]),
        atoms(np.eye(3) * 4, [0, 0, 0], [0, 0, 0]),
        atoms(np.eye(3) * 4, [0, 0, 0], [0.001, 0, 0]),
        Structure(Lattice.cubic(4), [], []),
    ],
)
def test_failed_samples_are_reported_not_raised(structure: Structure) -> None:
    report = describe(structure)
    assert not report.structure_valid
    assert report.spacegroup_number is None
    assert report.spacegroup_symbol is None
    json.dumps(dataclasses.asdict(report), allow_nan=False)


def test_very_flat_cells_do_not_hang() -> None:
    """Symmetry is not searched in cells where this could take minutes."""
    begun = time.perf_counter()
    for matrix in (
        [[1, 0, 0], [0, 0.1, 0], [0, 0, 1e3]],
        [[100, 0, 0], [99.9, 0.3, 0], [0, 0, 50]],
    ):
        report = describe(atoms(matrix, [0, 0, 0], [0.5, 0.2, 0.1]))
        assert report.spacegroup_number is None
        assert report.min_distance < 0.5
        assert report.lattice is not None
    assert time.perf_counter() - begun < 5


def report(density: float, elements: int, structure: bool, composition: bool) -> CrystalReport:
    blank = describe(Structure(Lattice.cubic(3), ["Po"], [[0, 0, 0]]))
    return dataclasses.replace(
        blank,
        density=density,
        num_elements=elements,
        structure_valid=structure,
        composition_valid=composition,
    )


def test_summary_counts_what_it_says() -> None:
    reports = [
        report(4.0, 3, True, True),
        report(4.0, 3, True, True),
        report(6.0, 2, True, False),
        report(99.0, 7, False, True),
    ]
    energies = [-0.5, 0.5, 9.0, 9.0]
    summary = summarize(
        reports,
        [None, 0, None, None],
        [True, False, True, None],
        {"formation_energy": energies, "band_gap": [0.0] * 4},
        REFERENCE,
    )
    assert summary["num_samples"] == 4
    assert summary["structure_validity"] == 0.75
    assert summary["composition_validity"] == 0.75
    assert summary["validity"] == 0.5
    assert summary["uniqueness"] == pytest.approx(2 / 3)
    assert summary["novelty"] == pytest.approx(2 / 3)
    assert summary["density"]["mean"] == 4.0
    assert summary["density"]["std"] == 0.0
    # The mean of |x - 4| for uniform x on 3 … 7 is (1/2 + 9/2) / 4.
    assert summary["density"]["wasserstein"] == pytest.approx(1.25, abs=1e-3)
    assert summary["num_elements"]["wasserstein"] == pytest.approx(0.5)
    # Uniform on -1 … 1 to two points at ±1/2: each half moves by 1/4 on average.
    assert summary["energy"]["mean"] == 0.0
    assert summary["energy"]["wasserstein"] == pytest.approx(0.25, abs=1e-3)
    json.dumps(summary, allow_nan=False)


def test_summary_without_valid_crystals_has_nulls() -> None:
    summary = summarize(
        [report(4.0, 3, False, True)], [None], [None], {"formation_energy": [1.0]}, REFERENCE
    )
    assert summary["structure_validity"] == 0.0
    assert summary["uniqueness"] is None
    assert summary["novelty"] is None
    assert summary["density"] == {"mean": None, "std": None, "wasserstein": None}
    assert summary["num_elements"] == {"wasserstein": None}
    assert summary["energy"] == {"mean": None, "wasserstein": None}


def test_summary_of_a_model_without_energy() -> None:
    summary = summarize([report(4.0, 3, True, True)], [None], [True], {}, REFERENCE)
    assert summary["energy"] is None


def test_summary_refuses_unequal_numbers() -> None:
    with pytest.raises(ValueError, match=r"\[1, 2\]"):
        summarize([report(4.0, 3, True, True)], [None, None], [True], {}, REFERENCE)


def test_quantiles_stand_for_the_sample_they_came_from() -> None:
    rng = np.random.default_rng(3)
    data, sample = rng.gamma(3.0, 2.0, 11356), rng.gamma(3.3, 2.0, 1000)
    reference = np.quantile(data, np.linspace(0, 1, 101)).tolist()
    exact = wasserstein_distance(sample, data)
    assert wasserstein_to_quantiles(sample, reference) == pytest.approx(exact, rel=0.03)


def test_histogram_distance() -> None:
    assert wasserstein_to_histogram([2, 3, 3, 2], {"2": 0.5, "3": 0.5}) == 0.0
    assert wasserstein_to_histogram([5], {"2": 0.25, "3": 0.75}) == pytest.approx(2.25)
