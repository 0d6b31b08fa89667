"""Coverage: do generated crystals lie near the reference crystals, and the other way round?

Xie et al., ICLR 2022, section 5.2 (COV-R and COV-P), after Ganea et al., NeurIPS 2021.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from cdvae.metrics.coverage_fingerprint import CoverageFingerprints

CHUNK = 512  # reference crystals: 512 × 10,000 distances are 40 MB


@dataclass(frozen=True)
class Thresholds:
    """Largest Euclidean distances at which two fingerprints match."""

    structure: float
    composition: float


THRESHOLDS = {
    "Perov-5": Thresholds(0.2, 4.0),
    "Carbon-24": Thresholds(0.2, 4.0),
    "MP-20": Thresholds(0.4, 10.0),
}
"""The thresholds of the paper, by data set."""


@dataclass(frozen=True)
class Coverage:
    """The crystals that have a match in the other set; one without fingerprint has none."""

    reference: np.ndarray  # (R,) bool
    generated: np.ndarray  # (G,) bool

    @property
    def recall(self) -> float:
        """COV-R: the fraction of all reference crystals that have a match."""
        return float(self.reference.mean())

    @property
    def precision(self) -> float:
        """COV-P: the fraction of all generated crystals that have a match."""
        return float(self.generated.mean())


def thresholds(dataset: str) -> Thresholds:
    """Return the paper's thresholds for a data set; ValueError if the paper has none."""
    try:
        return THRESHOLDS[dataset]
    except KeyError:
        known = ", ".join(THRESHOLDS)
        raise ValueError(
            f"no coverage thresholds for data set {dataset!r} (known: {known}); pass your own"
        ) from None


def coverage(
    generated: CoverageFingerprints, reference: CoverageFingerprints, limits: Thresholds
) -> tuple[Coverage, Coverage]:
    """Return the coverage with separate matches, as in the paper, and with joint matches.

    Separate: the nearest structure and the nearest composition are within their thresholds, but
    may belong to two different crystals. Joint: a single crystal is within both thresholds.

    Raises:
        ValueError: one of the sets is empty.
    """
    if not len(generated) or not len(reference):
        raise ValueError(f"{len(generated)} generated and {len(reference)} reference crystals")
    rows, columns = np.flatnonzero(reference.known), np.flatnonzero(generated.known)
    met = {kind: np.zeros(len(reference), dtype=bool) for kind in ("structure", "composition")}
    meets = {kind: np.zeros(len(generated), dtype=bool) for kind in met}
    met_jointly, meets_jointly = np.zeros(len(reference), bool), np.zeros(len(generated), bool)
    for start in range(0, len(rows), CHUNK):
        chosen = rows[start : start + CHUNK]
        near = {}
        for kind in met:
            theirs = getattr(reference, kind)[chosen]
            ours = getattr(generated, kind)[columns]
            near[kind] = cdist(theirs, ours) <= getattr(limits, kind)
            met[kind][chosen] = near[kind].any(axis=1)
            meets[kind][columns] |= near[kind].any(axis=0)
        both = near["structure"] & near["composition"]
        met_jointly[chosen] = both.any(axis=1)
        meets_jointly[columns] |= both.any(axis=0)
    separate = Coverage(
        met["structure"] & met["composition"], meets["structure"] & meets["composition"]
    )
    return separate, Coverage(met_jointly, meets_jointly)
