"""Crystals as they are asked for: are the constraints met, and at what price?

    python benchmarks/constraints.py exact [--models perov-5 …] [--requests 1000] [--out F]
    python benchmarks/constraints.py csp --data cache/mp_20/val.safetensors [--crystals 50] [--k 20]
    python benchmarks/constraints.py groups [--models …] [--requests 100]
    python benchmarks/constraints.py targets [--models …] [--requests 16]
    python benchmarks/constraints.py optimise --data cache/perov_5/test.safetensors
    python benchmarks/constraints.py rank --data cache/perov_5/val.safetensors [--candidates 4]
    python benchmarks/constraints.py walk --data cache/perov_5/val.safetensors [--strengths 0.1 …]

`exact`: random feasible requests (formula, number of atoms, elements, cell), one crystal each; the
share that is met exactly, read from the crystal, and the share that is structurally valid. `csp`:
the true compositions of a data set; whether the first, and any of the first k, matches the crystal.
`groups`: random feasible space groups; whether spglib (at 0.1 Å) finds the group or one above it.
`targets`: values from the 5th to the 95th percentile of the data; the mean distance of the
estimator's value, in units of its own error on the data, beside that of the property head for the
crystal encoded again, which took no part in the choice. `optimise`: a search from each of the first
crystals with the defaults of `POST /optimize`; seconds, success rates by the estimator, and what
head and estimator say was gained. `rank`: the candidate of rank 1 beside the first, the best by the
truth, and the choice of each number of `agreement`. `walk`: interpolation between neighbours in
the file, variations of each crystal. Records have command, commit, machine.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import emit, load
from walks import ranks, searches, ways

from cdvae.compute import configure
from cdvae.constraints import Constraints, Target
from cdvae.crystal import CrystalBatch, element_counts
from cdvae.data.dataset import load_cache
from cdvae.data.structures import to_structures
from cdvae.errors import InfeasibleError
from cdvae.lattice import from_parameters, to_parameters
from cdvae.metrics.matching import duplicates, match
from cdvae.metrics.validity import structure_valid
from cdvae.pipeline import (
    ConstrainedPrior,
    Decoded,
    Drawn,
    SamplerSpec,
    crystal_seed,
    decode,
    encode,
    predict,
)
from cdvae.symmetry.search import has_group
from cdvae.trained import TrainedModel

SYMPREC = 0.1  # Å
AT_ONCE = 64
"""Crystals that are decoded together."""


def make(
    model: TrainedModel, requests: Sequence[Constraints], sampler: SamplerSpec, seed: int
) -> CrystalBatch:
    """One crystal for each request without a target."""
    parts = []
    for start in range(0, len(requests), AT_ONCE):
        priors = [ConstrainedPrior(model, one) for one in requests[start : start + AT_ONCE]]
        drawn = [prior.draw([crystal_seed(seed, start + i)]) for i, prior in enumerate(priors)]
        whole = Drawn.cat(drawn)
        decoded = decode(model, whole.latents, whole.seeds, sampler, None, whole.fixed)
        begun = 0
        for prior, own in zip(priors, drawn, strict=True):
            rows = range(begun, begun + len(own.seeds))
            parts.append(prior.best(own, decoded.select(rows)).crystals)
            begun = rows.stop
        print(f"{len(parts)}/{len(requests)}", file=sys.stderr)
    return CrystalBatch.cat(parts)


def random_request(model: TrainedModel, rng: random.Random) -> Constraints:
    """A request of one or two kinds that the model can meet, whatever its chemistry."""
    prior, heads = model.prior.composition, model.network.heads
    known = [i + 1 for i in prior.species.nonzero()[:, 0].tolist()]
    sizes, most = prior.sizes.nonzero()[:, 0].tolist(), int(prior.most_elements)
    kind = rng.choice(("composition", "num_atoms", "elements", "lattice", "elements+lattice"))
    size = rng.choice(sizes)
    if kind == "composition":
        elements = rng.sample(known, rng.randint(1, min(4, size, most, len(known))))
        cuts = sorted(rng.sample(range(1, size), len(elements) - 1))
        counts = [b - a for a, b in itertools.pairwise([0, *cuts, size])]
        return Constraints(composition=dict(zip(elements, counts, strict=True)))
    if kind == "num_atoms":
        return Constraints(num_atoms=size)
    fields: dict[str, Any] = {}
    if "elements" in kind:
        some = rng.sample(known, min(len(known), 12))
        include = some[: rng.randint(0, min(2, most, size))]
        fields |= {"include": frozenset(include), "exclude": frozenset(some[len(include) + 1 :])}
    if "lattice" in kind:
        volume = float(heads.lattice_mean[:3].sum().exp()) * size * rng.uniform(0.8, 1.25)
        shape = torch.tensor([[rng.uniform(0.7, 1.4) for _ in range(3)]], dtype=torch.float64)
        angles = torch.tensor([[rng.uniform(65, 115) for _ in range(3)]], dtype=torch.float64)
        cell = from_parameters(shape, angles)[0]
        fields["lattice"] = cell * (volume / float(torch.linalg.det(cell).abs())) ** (1 / 3)
    return Constraints(**fields)


def is_met(constraints: Constraints, crystal: CrystalBatch) -> bool:
    """Whether the crystal is as required, read from the crystal itself."""
    counts = element_counts(crystal)[0]
    found = {int(i) + 1: int(counts[i]) for i in counts.nonzero()[:, 0]}
    fine = constraints.num_atoms in (None, sum(found.values()))
    fine = fine and constraints.include <= set(found) and not constraints.exclude & set(found)
    if constraints.composition is not None:
        fine = fine and found == dict(constraints.composition)
    if constraints.lattice is not None:
        pairs = zip(
            to_parameters(crystal.lattice.double()),
            to_parameters(constraints.lattice.double()[None]),
            strict=True,
        )
        fine = fine and all(torch.allclose(own, wanted, rtol=1e-5) for own, wanted in pairs)
    return fine


def exact(options: argparse.Namespace) -> dict[str, Any]:
    """Random feasible requests, shared out among the models."""
    rows = {}
    for number, name in enumerate(options.models):
        model, rng = load(name), random.Random(options.seed + number)
        share = options.requests // len(options.models)
        requests = [random_request(model, rng) for _ in range(share)]
        begun = time.perf_counter()
        crystals = make(model, requests, options.sampler, options.seed)
        seconds = time.perf_counter() - begun
        pairs = zip(requests, crystals.split(), strict=True)
        valid = [structure_valid(one) for one in to_structures(crystals)]
        rows[name] = {
            "requests": share,
            "met": sum(is_met(one, crystal) for one, crystal in pairs) / share,
            "structure_validity": sum(valid) / share,
            "seconds_a_crystal": round(seconds / share, 3),
        }
    return rows


def csp(options: argparse.Namespace) -> dict[str, Any]:
    """Crystals of a data set from their composition alone."""
    model, data = load(options.models[0]), load_cache(options.data)
    n = min(options.crystals, len(data))
    rows = torch.randperm(len(data), generator=torch.Generator().manual_seed(options.seed))[:n]
    crystals = data.crystals.select(rows)
    references = to_structures(crystals)
    wanted = []
    for counts in element_counts(crystals):
        formula = {int(i) + 1: int(counts[i]) for i in counts.nonzero()[:, 0]}
        wanted.append(Constraints(composition=formula))
    errors: list[list[float | None]] = []
    for attempt in range(options.k):
        made = to_structures(make(model, wanted, options.sampler, options.seed + 1000 * attempt))
        errors.append([match(*pair) for pair in zip(references, made, strict=True)])
    return {str(k): best_of(errors[:k]) | {"crystals": n} for k in sorted({1, options.k})}


def best_of(errors: Sequence[Sequence[float | None]]) -> dict[str, Any]:
    """Match rate and mean RMSE of the best attempt at each crystal."""
    columns = zip(*errors, strict=True)
    best = [min((e for e in own if e is not None), default=None) for own in columns]
    matched = [error for error in best if error is not None]
    return {
        "match_rate": len(matched) / len(best),
        "rmse": float(np.mean(matched)) if matched else None,
    }


def groups(options: argparse.Namespace) -> dict[str, Any]:
    """Random feasible space groups."""
    rows = {}
    for number, name in enumerate(options.models):
        model, rng = load(name), random.Random(options.seed + number)
        requests, refused = [], set()
        while len(requests) < options.requests:
            one = Constraints(spacegroup=rng.randint(1, 230))
            try:
                ConstrainedPrior(model, one)
            except InfeasibleError:
                refused.add(one.spacegroup)
                continue
            requests.append(one)
        crystals = make(model, requests, options.sampler, options.seed)
        structures = to_structures(crystals)
        found = [
            has_group(
                one.spacegroup or 1,
                structure.lattice.matrix,
                structure.frac_coords,
                np.array(structure.atomic_numbers),
                SYMPREC,
            )
            for structure, one in zip(structures, requests, strict=True)
        ]
        rows[name] = {
            "requests": len(requests),
            "distinct_groups": len({one.spacegroup for one in requests}),
            "refused_groups": len(refused),
            "found": sum(found) / len(found),
            "structure_validity": sum(map(structure_valid, structures)) / len(found),
        }
    return rows


def targets(options: argparse.Namespace) -> dict[str, Any]:
    """Every property of every model, at values spread over its data."""
    rows: dict[str, Any] = {}
    for name in options.models:
        model = load(name)
        statistics, quality = model.reference.statistics, model.card["quality"]["estimator"]
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
                "estimator_mae": error,
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


def first_crystals(options: argparse.Namespace) -> tuple[TrainedModel, CrystalBatch]:
    """The model, and the crystals at the beginning of the data."""
    data = load_cache(options.data).crystals
    return load(options.models[0]), data.select(range(min(options.crystals, len(data))))


def optimise(options: argparse.Namespace) -> dict[str, Any]:
    """Searches, as a job of the service does them."""
    return searches(*first_crystals(options), options.property)


def rank(options: argparse.Namespace) -> dict[str, Any]:
    """Candidates of given crystals, chosen without the truth."""
    return ranks(*first_crystals(options), options.candidates)


def walk(options: argparse.Namespace) -> dict[str, Any]:
    """Between and around given crystals."""
    return ways(*first_crystals(options), options.strengths)


def main() -> None:
    """Runs one part and prints its record."""
    parts = {
        "exact": exact,
        "csp": csp,
        "groups": groups,
        "targets": targets,
        "optimise": optimise,
        "rank": rank,
        "walk": walk,
    }
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("part", choices=parts)
    parser.add_argument("--models", nargs="+", help="all three; with --data one")
    parser.add_argument("--requests", type=int, help="exact 1000, groups 100, targets 16 a value")
    parser.add_argument("--values", type=int, default=5, help="of each property (targets)")
    parser.add_argument("--data", type=Path, help="tensor cache (the other parts)")
    parser.add_argument("--crystals", type=int, help="of the data: csp 1000, others 100")
    parser.add_argument("--k", type=int, default=20, help="attempts at each (csp)")
    parser.add_argument("--property", default="formation_energy", help="to be made small")
    parser.add_argument("--candidates", type=int, default=4, help="of each crystal (rank)")
    parser.add_argument(
        "--strengths", type=float, nargs="+", default=[0.1, 0.3, 1.0], help="of variations (walk)"
    )
    parser.add_argument(
        "--steps", type=int, help="score evaluations; the default sampler's if left"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    asked = {"exact": 1000, "groups": 100, "targets": 16}
    if options.part not in asked and options.data is None:
        parser.error(f"{options.part} needs --data")
    usual = ["perov-5", "carbon-24", "mp-20"] if options.part in asked else ["perov-5"]
    options.models = options.models or (["mp-20"] if options.part == "csp" else usual)
    options.requests = options.requests or asked.get(options.part)
    options.crystals = options.crystals or (1000 if options.part == "csp" else 100)
    options.sampler = SamplerSpec("fast", options.steps)
    configure()
    figures = parts[options.part](options)
    emit({"part": options.part, "seed": options.seed, "figures": figures}, options.out)


if __name__ == "__main__":
    main()
