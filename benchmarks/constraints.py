"""Crystals as they are asked for: are the constraints met, and at what price?

    python benchmarks/constraints.py exact [--models perov-5 …] [--requests 1000] [--out F]
    python benchmarks/constraints.py csp --data cache/mp_20/val.safetensors [--crystals 50] [--k 20]
    python benchmarks/constraints.py groups [--models …] [--requests 100]
    python benchmarks/constraints.py targets [--models …] [--requests 16]
    python benchmarks/constraints.py optimize --data cache/perov_5/test.safetensors
    python benchmarks/constraints.py rank --data cache/perov_5/val.safetensors [--candidates 4]
    python benchmarks/constraints.py walk --data cache/perov_5/val.safetensors [--strengths 0.1 …]

`exact`: random feasible requests (formula, number of atoms, elements, cell), one crystal each; the
share that is met exactly, read from the crystal, and the share that is structurally valid. `csp`:
the true compositions of a data set; whether the first, and any of the first k, matches the crystal.
`groups`: random feasible space groups; whether spglib (at 0.1 Å) finds the group or one above it.
`targets`: values from the 5th to the 95th percentile of the data; the mean distance of the
property model's value, in units of its own error on the data, beside that of the property head for
the crystal encoded again, which took no part in the choice. `optimize`: a search from each of the
first crystals with the defaults of `POST /optimize`; seconds, success rates by the property model,
and what head and property model say was gained. `rank`: the candidate of rank 1 beside the first,
the best by the truth, and the choice of each number of `consistency`. `walk`: interpolation between
neighbors in the file, variations of each crystal. Records have command, commit, machine.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from aims import targets
from asked import csp, exact, groups
from timing import emit, load
from walks import ranks, searches, ways

from cdvae.compute import configure
from cdvae.data.dataset import load_cache
from cdvae.geometry.crystal import CrystalBatch
from cdvae.inference import SamplerSpec
from cdvae.model_folder import TrainedModel


def first_crystals(options: argparse.Namespace) -> tuple[TrainedModel, CrystalBatch]:
    """The model, and the crystals at the beginning of the data."""
    data = load_cache(options.data).crystals
    return load(options.models[0]), data.select(range(min(options.crystals, len(data))))


def optimize(options: argparse.Namespace) -> dict[str, Any]:
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
        "optimize": optimize,
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
    options.sampler = SamplerSpec("ancestral", options.steps)
    configure()
    figures = parts[options.part](options)
    emit({"part": options.part, "seed": options.seed, "figures": figures}, options.out)


if __name__ == "__main__":
    main()
