"""Are the constraints of requests satisfied, and at what cost?

    python -m benchmarks.quality.constraints exact [--models perov-5 …] [--requests 1000] [--out F]
    python -m benchmarks.quality.constraints csp --data cache/mp_20/val.safetensors [--k 20]
    python -m benchmarks.quality.constraints groups [--models …] [--requests 100]

`exact`: random feasible requests (formula, number of atoms, elements, cell), one crystal each; the
share that is satisfied exactly, read from the crystal, and the share that is structurally valid.
`csp`: the true compositions of a data set; whether the first, and any of the first k attempts,
matches the crystal. `groups`: random feasible space groups; whether spglib (at 0.1 Å) finds the
group or a supergroup. Records have command, commit and machine.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.quality.constraint_requests import csp, exact, groups
from benchmarks.speed.timing import emit
from cdvae.compute import configure
from cdvae.inference import SamplerSpec


def main() -> None:
    """Run one part and print its record."""
    parts = {"exact": exact, "csp": csp, "groups": groups}
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("part", choices=parts)
    parser.add_argument("--models", nargs="+", help="default: all three; csp: mp-20")
    parser.add_argument("--requests", type=int, help="default: exact 1000, groups 100")
    parser.add_argument("--data", type=Path, help="tensor cache (csp)")
    parser.add_argument(
        "--crystals", type=int, default=1000, help="number taken from the data (csp)"
    )
    parser.add_argument("--k", type=int, default=20, help="attempts per crystal (csp)")
    parser.add_argument("--nfe", type=int, help="default: that of the sampler")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.part == "csp" and options.data is None:
        parser.error("csp needs --data")
    models = ["mp-20"] if options.part == "csp" else ["perov-5", "carbon-24", "mp-20"]
    options.models = options.models or models
    options.requests = options.requests or {"exact": 1000, "groups": 100}.get(options.part)
    options.sampler = SamplerSpec("ancestral", options.nfe)
    configure()
    figures = parts[options.part](options)
    emit({"part": options.part, "seed": options.seed, "figures": figures}, options.out)


if __name__ == "__main__":
    main()
