"""Crystals for a value of a property, for benchmarks/constraints.py."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import torch
from timing import load

from cdvae.constraints import Constraints, Target
from cdvae.data.structures import to_structures
from cdvae.inference import (
    ConstrainedPrior,
    Decoded,
    SamplerSpec,
    crystal_seed,
    decode,
    encode,
    predict,
)
from cdvae.metrics.matching import duplicates
from cdvae.metrics.validity import structure_valid
from cdvae.model_folder import TrainedModel


def targets(options: argparse.Namespace) -> dict[str, Any]:
    """Every property of every model, at values spread over its data."""
    rows: dict[str, Any] = {}
    for name in options.models:
        model = load(name)
        statistics, quality = model.reference.statistics, model.card["quality"]["property_model"]
        rows[name] = {}
        for prop in model.properties:
            quantiles = statistics["property_quantiles"][prop]
            low, high = quantiles[5], quantiles[95]
            values = [low + (high - low) * i / (options.values - 1) for i in range(options.values)]
            away, apart, structures = [], [], []
            for number, value in enumerate(values):
                seeds = [crystal_seed(options.seed + number, i) for i in range(options.requests)]
                decoded = aimed(model, Target(prop, value), seeds, options.sampler)
                away.append((decoded.properties[prop] - value).abs())
                again = encode(model, decoded.crystals).z.mean
                apart.append((predict(model, again)[prop].cpu() - value).abs())
                structures += to_structures(decoded.crystals)
            error, mae = quality[prop]["mae"], float(torch.cat(away).mean())
            rows[name][prop] = {
                "crystals": len(structures),
                "values": [round(value, 4) for value in values],
                "mae": mae,
                "mae_by_value": [round(float(own.mean()), 4) for own in away],
                "property_model_mae": error,
                "ratio": mae / error,
                "mae_of_the_head_once_encoded": float(torch.cat(apart).mean()),
                "structure_validity": sum(map(structure_valid, structures)) / len(structures),
                "unique": sum(one is None for one in duplicates(structures)) / len(structures),
                "distinct_formulas": len({one.composition.reduced_formula for one in structures}),
            }
            print(name, prop, rows[name][prop], file=sys.stderr)
    return rows


def aimed(
    model: TrainedModel, target: Target, seeds: Sequence[int], sampler: SamplerSpec
) -> Decoded:
    """Crystals for one target."""
    prior = ConstrainedPrior(model, Constraints(target=target))
    drawn = prior.draw(seeds)
    decoded = decode(model, drawn.latents, drawn.seeds, sampler, None, drawn.fixed)
    return prior.best(drawn, decoded)
