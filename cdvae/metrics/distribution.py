"""Wasserstein distances to a sample, to quantiles or to a histogram."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import wasserstein_distance

POINTS = 1000


def wasserstein_to_quantiles(values: Sequence[float], reference: Sequence[float]) -> float:
    """Return the first Wasserstein distance of a sample to a distribution given by quantiles.

    The reference holds equidistant quantiles from 0 % to 100 %; the distribution is uniform between
    two of them. The unit is that of the values.

    Raises:
        ValueError: there are no values.
    """
    levels = (np.arange(POINTS) + 0.5) / POINTS
    points = np.interp(levels, np.linspace(0, 1, len(reference)), reference)
    return float(wasserstein_distance(values, points))


def wasserstein_to_histogram(values: Sequence[int], reference: Mapping[str, float]) -> float:
    """Return the first Wasserstein distance of counts to a histogram {count: fraction}.

    Raises:
        ValueError: there are no values.
    """
    support = [int(count) for count in reference]
    return float(wasserstein_distance(values, support, v_weights=list(reference.values())))


def wasserstein(values: Sequence[float], reference: Sequence[float]) -> float | None:
    """Return the first Wasserstein distance of two samples; None if one of them is empty."""
    if not len(values) or not len(reference):
        return None
    return float(wasserstein_distance(values, reference))
