"""Benchmark numbers: how well crystals are reconstructed, how many generated ones are valid."""

from collections.abc import Sequence
from dataclasses import dataclass

from pymatgen.core.structure import Structure

from cdvae.data.parallel import Progress, parallel_map
from cdvae.metrics.matching import match
from cdvae.metrics.validity import composition_valid, species_counts, structure_valid


@dataclass(frozen=True)
class Validity:
    structure: bool
    composition: bool

    @property
    def both(self) -> bool:
        return self.structure and self.composition


@dataclass(frozen=True)
class ReconstructionDetail:
    rms: float | None  # in units of (V/N)^(1/3), None without a match
    validity: Validity  # of the prediction


@dataclass(frozen=True)
class ReconstructionScore:
    match_rate: float  # matched / all
    rmse: float | None  # mean rms over the matched
    match_rate_gated: float  # matched and valid / all: the paper's number
    rmse_gated: float | None
    details: tuple[ReconstructionDetail, ...]  # one for each crystal, in order


@dataclass(frozen=True)
class ValidityRates:
    structure_validity: float
    composition_validity: float
    validity: float


def score_reconstruction(
    references: Sequence[Structure],
    predictions: Sequence[Structure],
    workers: int = 1,
    progress: Progress | None = None,
) -> ReconstructionScore:
    """Match rates and errors of predictions against their references, over processes.

    The paper's gate counts a match only if the prediction is valid in structure and composition;
    a perfect reconstruction of Perov-5's test split therefore scores 0.986, not 1. Both are given.

    Raises:
        ValueError: the two sequences are empty or differ in length.
    """
    if not references or len(references) != len(predictions):
        raise ValueError(f"{len(predictions)} predictions for {len(references)} references")
    pairs = list(zip(references, predictions, strict=True))
    details = parallel_map(_detail, pairs, workers, progress, chunk_size=16)
    rms = [d.rms for d in details if d.rms is not None]
    gated = [d.rms for d in details if d.rms is not None and d.validity.both]
    return ReconstructionScore(
        match_rate=len(rms) / len(details),
        rmse=_mean(rms),
        match_rate_gated=len(gated) / len(details),
        rmse_gated=_mean(gated),
        details=tuple(details),
    )


def validity(structure: Structure) -> Validity:
    """Both validities of an ordered structure; NaN is invalid in structure."""
    return Validity(structure_valid(structure), composition_valid(species_counts(structure)))


def validity_rates(
    structures: Sequence[Structure], workers: int = 1, progress: Progress | None = None
) -> ValidityRates:
    """Fractions of valid crystals, over processes; ValueError for none."""
    if not structures:
        raise ValueError("no structures")
    found = parallel_map(validity, structures, workers, progress, chunk_size=256)
    return ValidityRates(
        structure_validity=sum(v.structure for v in found) / len(found),
        composition_validity=sum(v.composition for v in found) / len(found),
        validity=sum(v.both for v in found) / len(found),
    )


def _detail(pair: tuple[Structure, Structure]) -> ReconstructionDetail:
    return ReconstructionDetail(rms=match(*pair), validity=validity(pair[1]))


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
