"""Relaxation in batches against ASE with `CHGNetCalculator`, one crystal at a time.

    OMP_NUM_THREADS=1 python -m benchmarks.stability.relaxation_throughput CSV [--rounds 4]

Both relax the same crystals: structures of the CSV whose atoms are moved by 0.1 Å and whose cell
is scaled by 3 %. A round relaxes `--crystals` crystals each way; the ratio is the median over the
rounds. Times are those of the processor, so a busy machine does not change them much.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE
from pymatgen.core.structure import Structure
from pymatgen.io.ase import AseAtomsAdaptor

from cdvae.data.cell_reduction import parse_cif
from cdvae.data.sources import read_source
from cdvae.stability.potentials import load_potential
from cdvae.stability.relaxation import MAX_FORCE, MAX_STEPS, Relaxation, relax


def crystals(path: Path, first: int, number: int) -> list[Structure]:
    """Return distorted structures of the CSV from row ``first`` on."""
    found = []
    for row in read_source(path, {}).rows[first : first + number]:
        structure = parse_cif(row.cif)
        generator = np.random.default_rng(first)
        for site in range(len(structure)):
            step = generator.normal(scale=0.1 / 3**0.5, size=3)
            structure.translate_sites([site], step, frac_coords=False)
        structure.scale_lattice(structure.volume * 1.03)
        found.append(structure)
    return found


def by_ase(structures: list[Structure], calculator: Any) -> list[tuple[float, int, bool]]:
    """Return energy per atom, steps and convergence of each crystal."""
    found = []
    for structure in structures:
        atoms: Any = AseAtomsAdaptor.get_atoms(structure)
        atoms.calc = calculator
        optimizer = FIRE(FrechetCellFilter(atoms), logfile=None)
        converged = optimizer.run(fmax=MAX_FORCE, steps=MAX_STEPS)
        found.append(
            (float(atoms.get_potential_energy()) / len(atoms), optimizer.nsteps, bool(converged))
        )
    return found


def main() -> None:
    """Run the rounds, print them and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("csv", type=Path)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--crystals", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    from chgnet.model.dynamics import CHGNetCalculator

    potential, calculator = load_potential("chgnet"), CHGNetCalculator(use_device="cpu")
    rounds: list[dict[str, Any]] = []
    for number in range(options.rounds):
        given = crystals(options.csv, number * options.crystals, options.crystals)
        start = time.process_time()
        ours = relax(given, potential)
        middle = time.process_time()
        theirs = by_ase(given, calculator)
        end = time.process_time()
        difference = [
            abs(one.energy - energy)
            for one, (energy, _, converged) in zip(ours, theirs, strict=True)
            if isinstance(one, Relaxation) and one.converged and converged
        ]
        rounds.append(
            {
                "batched_seconds": middle - start,
                "ase_seconds": end - middle,
                "ratio": (end - middle) / (middle - start),
                "batched_steps": [getattr(one, "steps", None) for one in ours],
                "ase_steps": [steps for _, steps, _ in theirs],
                "largest_energy_difference": max(difference, default=None),
                "median_energy_difference": statistics.median(difference) if difference else None,
            }
        )
        print(rounds[-1], flush=True)
        result = {
            "crystals_per_round": options.crystals,
            "threads": 1,
            "median_ratio": statistics.median(one["ratio"] for one in rounds),
            "batched_crystals_per_minute": 60
            * len(rounds)
            * options.crystals
            / sum(one["batched_seconds"] for one in rounds),
            "rounds": rounds,
        }
        text = json.dumps(result, indent=2) + "\n"
        (options.out / "relaxation_throughput.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
