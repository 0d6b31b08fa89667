"""Sample any number of crystals from a trained model and describe them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pymatgen.core.structure import Structure

from cdvae.data.process_map import Progress
from cdvae.data.structures import to_structures
from cdvae.errors import NonFiniteSampleError
from cdvae.inference import SamplerSpec, crystal_seed, decode_finite, portions, sample_latents
from cdvae.metrics.crystal_report import CrystalReport, describe, summarize
from cdvae.metrics.fingerprint import identify
from cdvae.metrics.matching import duplicates
from cdvae.metrics.novelty import NoveltyIndex
from cdvae.model_folder import TrainedModel
from cdvae.nn.encoder import Latents


@dataclass(frozen=True)
class Sampled:
    """Sampled crystals; None and NaN stand for a crystal with non-finite coordinates."""

    structures: list[Structure | None]
    predicted: dict[str, list[float]]
    nfe_per_crystal: list[int]  # 0 for a crystal that is None

    @property
    def nfe(self) -> float:
        """The mean NFE of the crystals."""
        return sum(self.nfe_per_crystal) / len(self.nfe_per_crystal)


def sample_all(
    model: TrainedModel,
    latents_of: Callable[[range], Latents],
    n: int,
    seed: int,
    sampler: SamplerSpec,
    progress: Progress | None = None,
) -> Sampled:
    """Return crystals 0 … n − 1 of a seed, decoded portion by portion.

    Args:
        model: the trained model.
        latents_of: returns the latents of a range of crystals.
        n: the number of crystals.
        seed: of the whole set; crystal i has ``crystal_seed(seed, i)``.
        sampler: the sampler and its NFE.
        progress: called with (crystals done, n) after every noise level.
    """
    structures: list[Structure | None] = []
    predicted: dict[str, list[float]] = {name: [] for name in model.properties}
    nfe: list[int] = []
    for rows in portions(n, model):

        def on_level(level: int, levels: int, rows: range = rows) -> None:
            if progress:
                progress(rows.start + len(rows) * level // levels, n)

        seeds = [crystal_seed(seed, i) for i in rows]
        finite_rows, decoded = decode_finite(model, latents_of(rows), seeds, sampler, on_level)
        structures_by_row = (
            dict(zip(finite_rows, to_structures(decoded.crystals), strict=True)) if decoded else {}
        )
        structures += [structures_by_row.get(i) for i in range(len(rows))]
        for name, column in predicted.items():
            values = decoded.properties[name].tolist() if decoded else []
            by_row = dict(zip(finite_rows, values, strict=True))
            column += [by_row.get(i, math.nan) for i in range(len(rows))]
        taken = dict(zip(finite_rows, decoded.nfe.tolist(), strict=True)) if decoded else {}
        nfe += [taken.get(i, 0) for i in range(len(rows))]
    return Sampled(structures, predicted, nfe)


def sample_new(
    model: TrainedModel, n: int, seed: int, sampler: SamplerSpec, progress: Progress | None = None
) -> Sampled:
    """Return ``n`` crystals from the prior, see :func:`sample_all`."""

    def latents_of(rows: range) -> Latents:
        return sample_latents(model, [crystal_seed(seed, i) for i in rows])

    return sample_all(model, latents_of, n, seed, sampler, progress)


@dataclass(frozen=True)
class Generated:
    """New crystals, the report of each and the metrics of all."""

    structures: list[Structure]
    reports: list[CrystalReport]
    nfe: list[int]
    metrics: dict[str, Any]


def generate(
    model: TrainedModel,
    n: int,
    seed: int,
    sampler: SamplerSpec,
    progress: Progress | None = None,
) -> Generated:
    """Return ``n`` crystals from the learned prior with their reports and metrics.

    The metrics are those of the service and compare with the training statistics that are shipped
    with the model; :func:`cdvae.evaluation.task_generation.evaluate_generation` has the paper's.

    Raises:
        NonFiniteSampleError: a coordinate or cell is NaN or infinite.
    """
    started = time.perf_counter()
    sampled = sample_new(model, n, seed, sampler, progress)
    seconds = time.perf_counter() - started
    structures = [structure for structure in sampled.structures if structure is not None]
    if len(structures) < n:
        raise NonFiniteSampleError([i for i, s in enumerate(sampled.structures) if s is None])
    reports = [describe(structure) for structure in structures]
    metrics = summarize(
        reports,
        duplicates(structures),
        _novel(model, structures, reports),
        sampled.predicted,
        model.reference.statistics,
    )
    metrics |= {"seconds": seconds, "nfe": sampled.nfe, "max_nfe": max(sampled.nfe_per_crystal)}
    return Generated(structures, reports, sampled.nfe_per_crystal, metrics)


def _novel(
    model: TrainedModel, structures: Sequence[Structure], reports: Sequence[CrystalReport]
) -> list[bool | None]:
    known = novelty_index(model)
    return [
        known.is_novel(identify(structure)) if report.structure_valid else None
        for structure, report in zip(structures, reports, strict=True)
    ]


def novelty_index(model: TrainedModel) -> NoveltyIndex:
    """Return the fingerprints of the training crystals that are shipped with the model."""
    arrays = {name: tensor.cpu().numpy() for name, tensor in model.reference.tensors.items()}
    return NoveltyIndex.from_arrays(arrays)
