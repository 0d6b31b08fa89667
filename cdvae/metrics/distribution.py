"""Distances to distributions: to a sample, or to one known by its quantiles or a histogram."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import wasserstein_distance

POINTS = 1000


def wasserstein_to_quantiles(values: Sequence[float], reference: Sequence[float]) -> float:
    """First Wasserstein distance of a sample to a distribution known by equidistant quantiles.

    The reference runs from the 0 % to the 100 % quantile; between two of them the distribution is
    taken as uniform. The unit is that of the values. ValueError for no values.
    """
    levels = (np.arange(POINTS) + 0.5) / POINTS
    points = np.interp(levels, np.linspace(0, 1, len(reference)), reference)
    return float(wasserstein_distance(values, points))


def wasserstein_to_histogram(values: Sequence[int], reference: Mapping[str, float]) -> float:
    """First Wasserstein distance of counts to a histogram {count: fraction}.

    ValueError for no values.
    """
    support = [int(count) for count in reference]
    return float(wasserstein_distance(values, support, v_weights=list(reference.values())))


def wasserstein(values: Sequence[float], reference: Sequence[float]) -> float | None:
    """First Wasserstein distance of two samples, in their unit; None if one of them is empty."""
    if not len(values) or not len(reference):
        return None
    return float(wasserstein_distance(values, reference))
