"""The fingerprints of the paper's coverage: local order of the sites, and composition.

Structure: matminer's CrystalNNFingerprint ("ops", Zimmermann & Jain, RSC Adv. 2020), mean over the
sites. Composition: the Magpie features (Ward et al., npj Comput. Mater. 2016), standardized by
fixed numbers. The extra `evaluation` installs matminer, which is imported on first use.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from typing import Any

import numpy as np
from pymatgen.core.structure import Structure

from cdvae.errors import CdvaeError
from cdvae.metrics.validity import separated

STRUCTURE, COMPOSITION = 61, 132  # lengths of the two fingerprints


class MissingFeaturizerError(CdvaeError):
    """matminer is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "coverage needs matminer: pip install 'cdvae-service[evaluation]', or leave it out"
        )


@dataclass(frozen=True)
class CoverageFingerprints:
    """Fingerprints of N crystals; both rows of a crystal without fingerprint are NaN."""

    structure: np.ndarray  # (N, 61)
    composition: np.ndarray  # (N, 132), standardized

    def __len__(self) -> int:
        return len(self.structure)

    @property
    def known(self) -> np.ndarray:
        """(N,) True where the crystal has a fingerprint."""
        return ~np.isnan(self.structure).any(axis=1)

    @classmethod
    def from_rows(cls, rows: np.ndarray) -> CoverageFingerprints:
        """Return the fingerprints in (N, 193) rows of `coverage_fingerprint`."""
        return cls(rows[:, :STRUCTURE], rows[:, STRUCTURE:])


def featurizer_version() -> str:
    """Return the versions that determine a fingerprint; MissingFeaturizerError without matminer."""
    try:
        return f"matminer {version('matminer')}, pymatgen {version('pymatgen')}, scaler 1"
    except PackageNotFoundError as error:
        raise MissingFeaturizerError from error


def coverage_fingerprint(structure: Structure | None) -> np.ndarray:
    """Return the fingerprint (193,): 61 numbers of the structure, then 132 of the composition.

    All numbers are NaN for None, for crystals in which CrystalNN finds no neighbors, and for
    crystals with atoms, images included, closer than 0.5 Å: their neighbor search is too expensive.
    """
    if structure is None or not separated(structure):
        return np.full(STRUCTURE + COMPOSITION, np.nan)
    sites, magpie = _featurizers()
    with warnings.catch_warnings():
        # CrystalNN warns at every site that oxidation states are unknown.
        warnings.simplefilter("ignore")
        try:
            local = [sites.featurize(structure, index) for index in range(len(structure))]
            features = magpie.featurize(structure.composition)
        except Exception:  # the geometry code raises many types
            return np.full(STRUCTURE + COMPOSITION, np.nan)
    return np.concatenate([np.mean(local, axis=0), standardize(features)])


def standardize(features: Sequence[float]) -> np.ndarray:
    """Return standardized Magpie features (132,); an unknown one becomes 0, the mean."""
    means, stds = _scaler()
    return np.nan_to_num((np.asarray(features, dtype=float) - means) / stds, nan=0.0)


@cache
def _scaler() -> tuple[np.ndarray, np.ndarray]:
    text = files("cdvae.metrics").joinpath("magpie_scaler.json").read_text(encoding="utf-8")
    numbers = json.loads(text)
    return np.array(numbers["means"]), np.array(numbers["stds"])


@cache
def _featurizers() -> tuple[Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from the imports of matminer
        try:
            from matminer.featurizers.composition.composite import ElementProperty
            from matminer.featurizers.site.fingerprint import CrystalNNFingerprint
        except ImportError as error:
            raise MissingFeaturizerError from error
        return CrystalNNFingerprint.from_preset("ops"), ElementProperty.from_preset("magpie")
