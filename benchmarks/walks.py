"""What searches, ranked candidates and walks come to: three parts of constraints.py."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch

from cdvae.data.structures import to_structures
from cdvae.evaluation.task_optimization import percentiles
from cdvae.geometry.crystal import CrystalBatch
from cdvae.inference import (
    SamplerSpec,
    chunks,
    crystal_seed,
    decode,
    encode,
    estimate,
    sample_posterior,
)
from cdvae.inference.consistency import consistency
from cdvae.metrics.matching import match
from cdvae.metrics.validity import composition_valid, species_counts, structure_valid
from cdvae.model_folder import TrainedModel
from cdvae.nn.encoder import Latents
from cdvae.optimization import latent_paths
from cdvae.optimization.objective import PropertyObjective
from cdvae.optimization.optimize import optimize

FAST = SamplerSpec("ancestral")
POINTS = 9


def searches(model: TrainedModel, given: CrystalBatch, prop: str) -> dict[str, Any]:
    """One search from each crystal, as a job of the service does them."""
    begun, before_cpu = time.perf_counter(), time.process_time()
    latents = encode(model, given).means()
    lengths: list[int] = []
    reached, head, judge = [], [], []
    for rows in chunks(len(given), model):
        found = optimize(
            model,
            latents.select(rows),
            [crystal_seed(0, row) for row in rows],
            FAST,
            objectives=[PropertyObjective(prop, "minimize")],
        )
        before, after = (estimate(model, one)[prop] for one in (found.first(), found.best()))
        reached += after.tolist()
        judge += (after - before).tolist()
        head += [path.values[-1][0] - path.values[0][0] for path in found.trajectories]
        lengths += [len(path.decodings) for path in found.trajectories]
    seconds, cpu = time.perf_counter() - begun, time.process_time() - before_cpu
    limits = percentiles(model.card, prop)
    gaps = [abs(a - b) for a, b in zip(head, judge, strict=True)]
    return {
        "starts": len(given),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "decodings_a_start": statistics.fmean(lengths),
        "success_rate": {p: _share(value <= limits[p] for value in reached) for p in limits},
        "gain": {"head": statistics.fmean(head), "property_model": statistics.fmean(judge)},
        "gap": {"mean": statistics.fmean(gaps), "median": statistics.median(gaps)},
    }


def ranks(model: TrainedModel, given: CrystalBatch, candidates: int) -> dict[str, Any]:
    """Match rate and RMSE of one candidate for each crystal, by how it is chosen."""
    number = len(given)
    sources = [row // candidates for row in range(number * candidates)]
    seeds = [crystal_seed(0, row) for row in range(number * candidates)]
    width = torch.tensor([float(row % candidates > 0) for row in range(number * candidates)])
    latents = sample_posterior(model, encode(model, given).select(sources), seeds, width)
    crystals = decode(model, latents, seeds, FAST).crystals
    truth = to_structures(given)
    pairs = zip(sources, to_structures(crystals), strict=True)
    rmse = [match(truth[source], structure) for source, structure in pairs]
    found = consistency(model, latents, crystals)
    scores = {
        "first": torch.arange(number * candidates) % candidates,
        "rank 1 (score_residual)": found.score_residual,
        "latent_mse": found.latent_mse,
        "property_gap": found.property_gap,
        "truth": torch.tensor([float("inf") if one is None else one for one in rmse]),
    }
    rows = {}
    for name, score in scores.items():
        best = score.view(number, candidates).argmin(1)
        chosen = [rmse[source * candidates + int(one)] for source, one in enumerate(best)]
        known = [one for one in chosen if one is not None]
        rows[name] = {
            "match_rate": len(known) / number,
            "rmse": statistics.fmean(known) if known else None,
        }
    return {"crystals": number, "candidates": candidates, "chosen_by": rows}


def ways(model: TrainedModel, given: CrystalBatch, strengths: Sequence[float]) -> dict[str, Any]:
    """What lies between neighbors and around each crystal."""
    posterior = encode(model, given).means()
    truth = to_structures(given)
    positions = [i / (POINTS - 1) for i in range(POINTS)]
    ends, between = [], []
    for row in range(len(given) - 1):
        two, z = given.select([row, row + 1]), posterior.z[row : row + 2]
        way = Latents.of(latent_paths.interpolate_latents(model, two, z, positions))
        own = posterior.select([row, row + 1])
        latents = Latents.cat([own.select([0]), way.select(range(1, POINTS - 1)), own.select([1])])
        made = _decoded(model, latents, row)
        ends += [match(truth[row], made[0]), match(truth[row + 1], made[-1])]
        between += made[1:-1]
    figures: dict[str, Any] = {
        "ends_matched": _share(one is not None for one in ends),
        "between": _validity(between),
    }
    for strength in strengths:
        for keep in (True, False):
            made, same = [], []
            for row, structure in enumerate(truth):
                seeds = [crystal_seed(row, i) for i in range(POINTS)]
                one = given.select([row])
                z = latent_paths.perturb_latents(
                    model, one, posterior.z[row : row + 1], strength, seeds, keep
                )
                found = _decoded(model, Latents.of(z), row)
                made += found
                same += [match(structure, other) is not None for other in found]
            name = f"strength {strength}{', composition kept' if keep else ''}"
            figures[name] = {**_validity(made), "matches_input": _share(same)}
    return {"crystals": len(given), **figures}


def _decoded(model: TrainedModel, latents: Latents, seed: int) -> list[Any]:
    seeds = [crystal_seed(seed, i) for i in range(len(latents))]
    return to_structures(decode(model, latents, seeds, FAST).crystals)


def _validity(structures: Sequence[Any]) -> dict[str, float]:
    return {
        "structure_validity": _share(map(structure_valid, structures)),
        "composition_validity": _share(
            composition_valid(species_counts(structure)) for structure in structures
        ),
    }


def _share(flags: Any) -> float:
    known = list(flags)
    return sum(known) / len(known)
