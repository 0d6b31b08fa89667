"""Random and given constraints for `constraints.py`, and the check that crystals meet them."""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.speed.timing import load
from cdvae.constraints import Constraints
from cdvae.data.dataset import load_cache
from cdvae.data.structures import to_structures
from cdvae.errors import InfeasibleError
from cdvae.geometry.crystal import CrystalBatch, element_counts
from cdvae.geometry.lattice import from_parameters, to_parameters
from cdvae.inference import ConstrainedPrior, Drawn, SamplerSpec, crystal_seed, decode
from cdvae.metrics.matching import match
from cdvae.metrics.validity import structure_valid
from cdvae.model_folder import TrainedModel
from cdvae.symmetry.group_detection import has_group

SYMPREC = 0.1  # Å
AT_ONCE = 64
"""Crystals that are decoded together."""


def make(
    model: TrainedModel, requests: Sequence[Constraints], sampler: SamplerSpec, seed: int
) -> CrystalBatch:
    """Return one crystal for each request; the requests have no target."""
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
    """Return a random request of one or two kinds that the model can meet."""
    prior, heads = model.prior.composition, model.network.heads
    known = [i + 1 for i in prior.known_elements.nonzero()[:, 0].tolist()]
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
    """Return whether the crystal meets the constraints."""
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
    """Measure random feasible requests, divided among the models."""
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
    """Predict the crystals of a data set from their compositions."""
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
    """Return the match rate and mean RMSE of the best attempt at each crystal."""
    columns = zip(*errors, strict=True)
    best = [min((e for e in own if e is not None), default=None) for own in columns]
    matched = [error for error in best if error is not None]
    return {
        "match_rate": len(matched) / len(best),
        "rmse": float(np.mean(matched)) if matched else None,
    }


def groups(options: argparse.Namespace) -> dict[str, Any]:
    """Measure random feasible space groups."""
    rows = {}
    for number, name in enumerate(options.models):
        model, rng = load(name), random.Random(options.seed + number)
        requests: list[Constraints] = []
        refused: set[int | None] = set()
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
