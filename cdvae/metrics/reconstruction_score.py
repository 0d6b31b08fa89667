"""Match rates and errors of reconstructions, and validities of generated crystals."""

from collections.abc import Sequence
from dataclasses import dataclass

from pymatgen.core.structure import Structure

from cdvae.data.process_map import Progress, parallel_map
from cdvae.metrics.matching import match
from cdvae.metrics.validity import composition_valid, species_counts, structure_valid


@dataclass(frozen=True)
class StructureValidity:
    """The two validities of one structure."""

    structure: bool
    composition: bool

    @property
    def both(self) -> bool:
        """True if structure and composition are valid."""
        return self.structure and self.composition


@dataclass(frozen=True)
class ReconstructionDetail:
    """The result for one crystal."""

    rms: float | None  # in units of (V/N)^(1/3); None without a match
    validity: StructureValidity  # of the prediction


@dataclass(frozen=True)
class ReconstructionScore:
    """Match rates and errors over all crystals."""

    match_rate: float  # fraction of all crystals with a match
    rmse: float | None  # mean rms over these crystals
    match_rate_gated: float  # fraction with a match and a valid prediction: the paper's number
    rmse_gated: float | None  # mean rms over these crystals
    details: tuple[ReconstructionDetail, ...]  # one for each crystal, in order


def score_reconstruction(
    references: Sequence[Structure],
    predictions: Sequence[Structure | None],
    workers: int = 1,
    progress: Progress | None = None,
) -> ReconstructionScore:
    """Return match rates and errors of predictions against their references.

    The paper counts a match only if the prediction is valid in structure and composition, so a
    perfect reconstruction of Perov-5's test split scores 0.986, not 1. The result has the rates
    with and without this gate. The prediction None is invalid and matches nothing.

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


def validity(structure: Structure | None) -> StructureValidity:
    """Return both validities of an ordered structure; None is invalid in both."""
    if structure is None:
        return StructureValidity(structure=False, composition=False)
    return StructureValidity(
        structure_valid(structure), composition_valid(species_counts(structure))
    )


def validities(
    structures: Sequence[Structure | None], workers: int = 1, progress: Progress | None = None
) -> list[StructureValidity]:
    """Return `validity` of each structure, computed by ``workers`` processes."""
    return parallel_map(validity, structures, workers, progress, chunk_size=256)


def per_distinct(duplicates: Sequence[int | None], values: Sequence[float]) -> float:
    """Return the mean over distinct crystals of the mean value of their copies.

    Args:
        duplicates: for each crystal the index of the first equal one; None if there is none.
        values: one value for each crystal.
    """
    copies: dict[int, list[float]] = {}
    for index, (first, value) in enumerate(zip(duplicates, values, strict=True)):
        copies.setdefault(index if first is None else first, []).append(value)
    return sum(sum(group) / len(group) for group in copies.values()) / len(copies)


def _detail(pair: tuple[Structure, Structure | None]) -> ReconstructionDetail:
    reference, prediction = pair
    rms = None if prediction is None else match(reference, prediction)
    return ReconstructionDetail(rms=rms, validity=validity(prediction))


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
