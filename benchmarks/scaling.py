"""Time of sampling against the number of crystals and the atoms in a cell; memory.

    python benchmarks/scaling.py [--crystals 64 128 256 512] [--atoms 5 10 20 40] [--out FILE]

Processor time on one thread. The exponent k of seconds = c · size^k is fitted: 1 is linear.
Crystals are sampled in chunks as everywhere else, with `--steps` evaluations. Cells of N atoms are
random at one density, and one evaluation of their score is timed: pairs of atoms make it grow
faster than N in the end. Memory is the most that the process had after so many crystals.
"""

from __future__ import annotations

import resource
import statistics

import torch
from timing import arguments, emit, exponent, load, sample, timed

from cdvae.compute import configure
from cdvae.geometry.crystal import CrystalBatch
from cdvae.inference import SamplerSpec, portions
from cdvae.model_folder import TrainedModel
from cdvae.nn.decoder import Condition

CELLS = 16
VOLUME = 14.5  # Å³ an atom, the mean of Perov-5


def random_cells(num_atoms: int) -> CrystalBatch:
    """CELLS cubic cells with atoms anywhere."""
    rng = torch.Generator().manual_seed(num_atoms)
    total = CELLS * num_atoms
    edge = (VOLUME * num_atoms) ** (1 / 3)
    return CrystalBatch(
        torch.rand(total, 3, generator=rng),
        torch.randint(1, 50, (total,), generator=rng),
        (edge * torch.eye(3)).expand(CELLS, 3, 3).contiguous(),
        torch.full((CELLS,), num_atoms),
    )


def evaluation(model: TrainedModel, num_atoms: int, repeats: int) -> float:
    """Seconds of one evaluation of the score of CELLS cells."""
    crystals = random_cells(num_atoms)
    config = model.config.model
    condition = Condition(
        torch.zeros(CELLS, config.latent_dim),
        torch.zeros(len(crystals.frac_coords), config.atom_latent_dim),
        torch.ones(CELLS),
        crystals.num_atoms,
    )
    sigma = torch.full((CELLS,), 0.3)
    with torch.no_grad():
        score = model.network.decoder.bind(condition)
        score(crystals, sigma)
        return statistics.median(timed(lambda: score(crystals, sigma)).cpu for _ in range(repeats))


def main() -> None:
    """Prints both series with their exponents."""
    options = arguments(
        __doc__ or "",
        model="perov-5",
        crystals=[64, 128, 256, 512],
        atoms=[5, 10, 20, 40],
        steps=8,
        repeats=15,
    )
    configure(1)
    model = load(options.model)
    sampler = SamplerSpec("ancestral", options.steps)
    sample(model, 4, sampler)
    seconds, megabytes = [], []
    for n in options.crystals:
        run = timed(
            lambda n=n: [
                sample(model, len(part), sampler, part.start) for part in portions(n, model)
            ]
        )
        seconds.append(run.cpu)
        megabytes.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
    cells = [evaluation(model, n, options.repeats) for n in options.atoms]
    figures = {
        "model": options.model,
        "evaluations": options.steps,
        "crystals": [
            {"crystals": n, "cpu_seconds": round(s, 2), "most_megabytes": m}
            for n, s, m in zip(options.crystals, seconds, megabytes, strict=True)
        ],
        "exponent_of_crystals": round(exponent(options.crystals, seconds), 3),
        "atoms": [
            {"atoms": n, "cpu_ms_an_evaluation_of_a_crystal": round(1000 * s / CELLS, 4)}
            for n, s in zip(options.atoms, cells, strict=True)
        ],
        "exponent_of_atoms": round(exponent(options.atoms, cells), 3),
    }
    emit(figures, options.out)


if __name__ == "__main__":
    main()
