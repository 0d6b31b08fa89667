"""What the checks of crystals cost beside sampling them.

    python benchmarks/metrics_speed.py [--model perov-5] [--crystals 1000] [--out FILE]

Processor time on one thread, of sampling and of each check of the same crystals: what is said of a
crystal (validity, contacts, density, space group), novelty, duplicates, CIF. `ratio` is all checks
over sampling; below 1 the checks are not the bottleneck.
"""

from __future__ import annotations

from pymatgen.core.structure import Structure
from timing import arguments, emit, load, sample, timed

from cdvae.compute import configure
from cdvae.data.cif_writer import write_cif
from cdvae.data.structures import to_structures
from cdvae.evaluation.sampling_protocol import novelty_index
from cdvae.inference import SamplerSpec, portions
from cdvae.metrics.crystal_report import describe
from cdvae.metrics.fingerprint import identify
from cdvae.metrics.matching import duplicates


def main() -> None:
    """Prints milliseconds a crystal."""
    options = arguments(__doc__ or "", model="perov-5", crystals=1000)
    configure(1)
    model, sampler = load(options.model), SamplerSpec("ancestral")
    known = novelty_index(model)
    first = sample(model, 4, sampler)
    warm = to_structures(first.crystals)[0]
    describe(warm), known.is_novel(identify(warm)), write_cif(warm, {"index": 0})
    structures: list[Structure] = []

    def run() -> None:
        for part in portions(options.crystals, model):
            structures.extend(to_structures(sample(model, len(part), sampler, part.start).crystals))

    sampling = timed(run).cpu
    checks = {
        "describe": timed(lambda: [describe(one) for one in structures]).cpu,
        "novelty": timed(lambda: [known.is_novel(identify(one)) for one in structures]).cpu,
        "duplicates": timed(lambda: duplicates(structures)).cpu,
        "cif": timed(lambda: [write_cif(s, {"index": i}) for i, s in enumerate(structures)]).cpu,
    }
    each = {name: round(1000 * s / options.crystals, 3) for name, s in checks.items()}
    figures = {
        "model": options.model,
        "crystals": options.crystals,
        "evaluations": float(first.nfe.double().mean()),
        "sampling_cpu_ms_a_crystal": round(1000 * sampling / options.crystals, 2),
        "checks_cpu_ms_a_crystal": each,
        "ratio": round(sum(checks.values()) / sampling, 3),
    }
    emit(figures, options.out)


if __name__ == "__main__":
    main()
