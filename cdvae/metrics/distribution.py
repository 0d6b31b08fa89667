"""Distributions as derived numbers: quantiles and histograms of a data set, distances to them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pymatgen.core.periodic_table import Element
from scipy.stats import wasserstein_distance

from cdvae.data.dataset import CrystalDataset

QUANTILES = np.linspace(0, 1, 101)
AMU_PER_CUBIC_ANGSTROM = 1.66053906660  # g/cm³


def quantiles(values: Sequence[float] | np.ndarray) -> list[float]:
    """The 0 %, 1 %, … 100 % quantiles of the finite values; ValueError if there is none."""
    array = np.asarray(values, dtype=float)
    array = array[np.isfinite(array)]
    if array.size == 0:
        raise ValueError("no finite value")
    return np.quantile(array, QUANTILES).tolist()


def wasserstein_to_quantiles(values: Sequence[float], reference: Sequence[float]) -> float:
    """First Wasserstein distance of a sample to a distribution known by its 101 quantiles.

    The distribution between two quantiles is taken as uniform; the unit is that of the values.
    """
    levels = (np.arange(1000) + 0.5) / 1000
    points = np.interp(levels, np.linspace(0, 1, len(reference)), reference)
    return float(wasserstein_distance(values, points))


def wasserstein_to_histogram(values: Sequence[int], reference: Mapping[str, float]) -> float:
    """First Wasserstein distance of counts to a histogram {count: fraction}."""
    support = [int(count) for count in reference]
    return float(wasserstein_distance(values, support, v_weights=list(reference.values())))


def percentile_of(value: float, reference: Sequence[float]) -> float:
    """Percentage (0 to 100) of the distribution with these quantiles that lies below `value`.

    Where quantiles coincide (many equal values) this is the middle of the step.
    """
    grid = np.linspace(0, 100, len(reference))
    below = np.searchsorted(reference, value, side="left")
    above = np.searchsorted(reference, value, side="right")
    if above > below:
        return float((grid[below] + grid[above - 1]) / 2)
    return float(np.interp(value, reference, grid))


def densities(dataset: CrystalDataset) -> np.ndarray:
    """(N,) densities in g/cm³."""
    crystals = dataset.crystals
    species = crystals.species.numpy()
    present = np.unique(species)
    mass = np.zeros(present.max() + 1)
    mass[present] = [float(Element.from_Z(z).atomic_mass) for z in present.tolist()]
    total = np.bincount(crystals.owner.numpy(), weights=mass[species], minlength=len(dataset))
    return total / crystals.volume.double().numpy() * AMU_PER_CUBIC_ANGSTROM


def reference_statistics(dataset: CrystalDataset) -> dict[str, Any]:
    """What a model keeps of its training data: the JSON object `reference.json`.

    `density_quantiles` (g/cm³), `num_elements_histogram` {"3": fraction}, `property_quantiles` by
    property name; 101 quantiles each, blanks left out.
    """
    species = dataset.crystals.species.split(dataset.crystals.n_atoms.tolist())
    elements = Counter(len(set(crystal.tolist())) for crystal in species)
    columns = dataset.properties.double().numpy().T
    return {
        "density_quantiles": quantiles(densities(dataset)),
        "num_elements_histogram": {
            str(count): elements[count] / len(dataset) for count in sorted(elements)
        },
        "property_quantiles": {
            name: quantiles(column)
            for name, column in zip(dataset.property_names, columns, strict=True)
        },
    }
