"""Generation: are new crystals valid, do they cover the data and follow their distribution?

Protocol of Xie et al., ICLR 2022, section 5.2.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core.structure import Structure

from cdvae.data.dataset import CrystalDataset
from cdvae.data.structures import to_structures
from cdvae.evaluation.judge import judged
from cdvae.evaluation.method import Method, Stage
from cdvae.evaluation.sampling_protocol import novelty_index
from cdvae.metrics.coverage import Coverage, Thresholds, coverage
from cdvae.metrics.distribution import wasserstein
from cdvae.metrics.fingerprint import identify
from cdvae.metrics.fingerprint_cache import coverage_fingerprints
from cdvae.metrics.known_crystals import known_crystals
from cdvae.metrics.matching import duplicates
from cdvae.metrics.reconstruction_score import per_distinct, validities
from cdvae.metrics.validity import species_counts
from cdvae.model_folder import TrainedModel

COMPARED = 1000
"""The number of valid crystals, chosen at random, for the comparison of distributions.

The uniqueness, which falls with the number of crystals, is that of the first COMPARED ones.
"""


def quiet(_: str) -> Any:
    """Return a callback that ignores the progress."""
    return lambda done, total: None


def evaluate_generation(
    method: Method,
    judge: TrainedModel,
    data: CrystalDataset,
    n: int,
    seed: int,
    limits: Thresholds,
    *,
    train: CrystalDataset | None = None,
    cache: Path | None = None,
    workers: int = 1,
    stage: Stage = quiet,
) -> dict[str, Any]:
    """Return `score_generation` of ``n`` new crystals and the seconds of sampling and scoring."""
    started = time.perf_counter()
    structures = method.generate(n, seed, stage("sampling"))
    sampled = time.perf_counter()
    figures = score_generation(
        structures,
        judge,
        data,
        seed,
        limits,
        train=train,
        cache=cache,
        workers=workers,
        stage=stage,
    )
    seconds = {"seconds": sampled - started, "seconds_scoring": time.perf_counter() - sampled}
    return figures | seconds


def score_generation(
    structures: Sequence[Structure | None],
    judge: TrainedModel,
    data: CrystalDataset,
    seed: int,
    limits: Thresholds,
    *,
    train: CrystalDataset | None = None,
    cache: Path | None = None,
    workers: int = 1,
    stage: Stage = quiet,
) -> dict[str, Any]:
    """Return the paper's numbers of generated crystals against the reference set ``data``.

    Fractions are between 0 and 1. Validity and coverage count all crystals; one that is None or
    has no coverage fingerprint is invalid and covers nothing. The Wasserstein distances of density
    (g/cm³), energy (the judge's first property, estimated for both sets) and number of elements
    compare up to 1,000 valid crystals with all of ``data``; they are None without a valid crystal.
    Uniqueness and novelty are fractions of the structurally valid crystals.

    Args:
        structures: the generated crystals.
        judge: its property model estimates the energy; its index of training crystals decides on
            novelty if ``train`` is None.
        data: the reference set.
        seed: of the random choice of 1,000 crystals.
        limits: thresholds of coverage, see `cdvae.metrics.coverage.thresholds`.
        train: training crystals; StructureMatcher searches them for the generated crystals.
        cache: folder that keeps the fingerprints of ``data``.
        workers: number of processes.
        stage: starts a part of the work and returns the callback for its progress.

    Raises:
        MissingFeaturizerError: matminer is not installed.
        ValueError: there are no structures or no reference crystals.
    """
    references = to_structures(data.crystals)
    theirs = coverage_fingerprints(references, cache, workers, stage("reference fingerprints"))
    ours = coverage_fingerprints(structures, None, workers, stage("fingerprints"))
    separate, joint = coverage(ours, theirs, limits)
    checks = validities(structures, workers)
    valid = [i for i, check in enumerate(checks) if check.both and ours.known[i]]
    intact = [s for s, check in zip(structures, checks, strict=True) if s and check.structure]
    copies = duplicates(intact[:COMPARED])
    distances, compared = _distances(structures, valid, judge, references, seed)
    return {
        "structure_validity": float(np.mean([check.structure for check in checks])),
        "composition_validity": float(np.mean([check.composition for check in checks])),
        "validity": len(valid) / len(checks),
        "cov_recall": separate.recall,
        "cov_precision": separate.precision,
        "cov_recall_joint": joint.recall,
        "cov_precision_joint": joint.precision,
        **distances,
        "uniqueness": _fraction([first is None for first in copies]),
        "novelty": _fraction(_novel(intact, judge, train, workers, stage)),
        "novelty_by": "fingerprints" if train is None else "StructureMatcher",
        "distinct": _distinct(data, references, copies, separate, joint),
        "coverage_thresholds": {"structure": limits.structure, "composition": limits.composition},
        "without_fingerprint": int((~ours.known).sum()),
        "compared": compared,
        "reference": len(references),
        "energy_property": judge.properties[0],
    }


def _distances(
    structures: Sequence[Structure | None],
    valid: Sequence[int],
    judge: TrainedModel,
    references: Sequence[Structure],
    seed: int,
) -> tuple[dict[str, float | None], int]:
    """Return the three Wasserstein distances and the number of generated crystals compared."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(valid, COMPARED, replace=False) if len(valid) > COMPARED else valid
    sample = [s for i in chosen if (s := structures[i]) is not None]
    energy = judge.properties[0]
    return {
        "w_density": wasserstein(_densities(sample), _densities(references)),
        "w_energy": wasserstein(judged(judge, sample, energy), judged(judge, references, energy)),
        "w_num_elements": wasserstein(_num_elements(sample), _num_elements(references)),
    }, len(sample)


def _novel(
    structures: Sequence[Structure],
    judge: TrainedModel,
    train: CrystalDataset | None,
    workers: int,
    stage: Stage,
) -> list[bool]:
    if train is None:
        index = novelty_index(judge)
        return [index.is_novel(identify(structure)) for structure in structures]
    known = known_crystals(structures, to_structures(train.crystals), workers, stage("novelty"))
    return [not is_known for is_known in known]


def _distinct(
    data: CrystalDataset,
    references: Sequence[Structure],
    copies: Sequence[int | None],
    separate: Coverage,
    joint: Coverage,
) -> dict[str, Any] | None:
    """Return the numbers of distinct crystals and their coverage, for data of one element."""
    if len(data.crystals.atomic_numbers.unique()) > 1:
        return None
    originals = duplicates(references)
    return {
        "generated": sum(first is None for first in copies),
        "reference": sum(first is None for first in originals),
        "cov_recall": per_distinct(originals, separate.reference.tolist()),
        "cov_recall_joint": per_distinct(originals, joint.reference.tolist()),
    }


def _densities(structures: Sequence[Structure]) -> list[float]:
    return [float(structure.density) for structure in structures]


def _num_elements(structures: Sequence[Structure]) -> list[int]:
    return [len(species_counts(structure)) for structure in structures]


def _fraction(flags: Sequence[bool]) -> float | None:
    return sum(flags) / len(flags) if flags else None
