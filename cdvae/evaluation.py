"""Measurement of a trained model on data: the numbers that go into its card."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pymatgen.core.structure import Structure

from cdvae.data.dataset import CrystalDataset
from cdvae.data.structures import to_structures
from cdvae.metrics.matching import duplicates
from cdvae.metrics.novelty import NoveltyIndex
from cdvae.metrics.reconstruction import score_reconstruction
from cdvae.metrics.report import CrystalReport, describe, summarise
from cdvae.pipeline import (
    SamplerSpec,
    chunks,
    crystal_seed,
    decode,
    encode,
    predict,
    sample_latents,
)
from cdvae.trained import TrainedModel

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Sampled:
    """Crystals decoded in chunks."""

    structures: list[Structure]
    predicted: dict[str, list[float]]
    score_evaluations: int  # of each crystal


def sample_all(
    model: TrainedModel,
    latents_of: Callable[[range], torch.Tensor],
    n: int,
    seed: int,
    sampler: SamplerSpec,
    progress: Progress | None = None,
) -> Sampled:
    """Crystals 0 … n − 1 of a seed, decoded chunk by chunk.

    Args:
        model: the trained model.
        latents_of: (B, D) latents of a range of crystals.
        n: how many.
        seed: of the whole set; crystal i has ``crystal_seed(seed, i)``.
        sampler: which sampler.
        progress: called with (crystals done, n), fractions of a chunk included.
    """
    structures: list[Structure] = []
    predicted: dict[str, list[float]] = {name: [] for name in model.properties}
    evaluations = 0
    for rows in chunks(n, model):

        def on_level(level: int, levels: int, rows: range = rows) -> None:
            if progress:
                progress(rows.start + len(rows) * level // levels, n)

        seeds = [crystal_seed(seed, i) for i in rows]
        decoded = decode(model, latents_of(rows), seeds, sampler, on_level)
        structures += to_structures(decoded.crystals)
        for name, values in decoded.properties.items():
            predicted[name] += values.tolist()
        evaluations = decoded.score_evaluations
    return Sampled(structures, predicted, evaluations)


def reconstruct(
    model: TrainedModel,
    data: CrystalDataset,
    seed: int,
    sampler: SamplerSpec,
    workers: int = 1,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """How well crystals come back from z = posterior mean, everything decoded, nothing forced.

    The property errors of the heads are those at the same latents; a property that ``data`` does
    not have is left out.
    """
    started = time.perf_counter()
    latents = torch.cat(
        [encode(model, data.crystals.select(rows)).mean for rows in chunks(len(data), model)]
    )
    sampled = sample_all(
        model, lambda rows: latents[list(rows)], len(data), seed, sampler, progress
    )
    seconds = time.perf_counter() - started
    score = score_reconstruction(to_structures(data.crystals), sampled.structures, workers)
    heads = predict(model, latents)
    errors = {
        name: float((heads[name].cpu() - data.properties[:, i]).abs().nanmean())
        for i, name in enumerate(data.property_names)
    }
    return {
        "match_rate": score.match_rate,
        "rmse": score.rmse,
        "match_rate_gated": score.match_rate_gated,
        "rmse_gated": score.rmse_gated,
        "property_mae": errors,
        "seconds": seconds,
        "score_evaluations": sampled.score_evaluations,
    }


@dataclass(frozen=True)
class Generated:
    """New crystals with what is known of each and of all."""

    structures: list[Structure]
    reports: list[CrystalReport]
    metrics: dict[str, Any]


def generate(
    model: TrainedModel,
    n: int,
    seed: int,
    sampler: SamplerSpec,
    progress: Progress | None = None,
) -> Generated:
    """``n`` crystals from the learned prior, their checks and their summary."""
    started = time.perf_counter()

    def latents_of(rows: range) -> torch.Tensor:
        return sample_latents(model, [crystal_seed(seed, i) for i in rows])

    sampled = sample_all(model, latents_of, n, seed, sampler, progress)
    seconds = time.perf_counter() - started
    reports = [describe(structure) for structure in sampled.structures]
    metrics = summarise(
        reports,
        duplicates(sampled.structures),
        _novel(model, sampled.structures, reports),
        sampled.predicted,
        model.reference.statistics,
    )
    metrics |= {"seconds": seconds, "score_evaluations": sampled.score_evaluations}
    return Generated(sampled.structures, reports, metrics)


def _novel(
    model: TrainedModel, structures: Sequence[Structure], reports: Sequence[CrystalReport]
) -> list[bool | None]:
    arrays = {name: tensor.numpy() for name, tensor in model.reference.tensors.items()}
    known = NoveltyIndex.from_arrays(arrays)
    return [
        known.is_novel(structure) if report.structure_valid else None
        for structure, report in zip(structures, reports, strict=True)
    ]
