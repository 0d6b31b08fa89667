"""Measure how much static energies put CHGNet's hull too high. Resumable.

    python -m benchmarks.stability.relaxed_phases CSV JOURNAL [--number 500]

Relaxes phases that are drawn from the hull's reference and prints by how much relaxing lowers
them: the mean is about what a relaxed crystal seems too stable by.
"""

from __future__ import annotations

import argparse
import random
import statistics
from pathlib import Path

import torch

from cdvae.data.cell_reduction import parse_cif
from cdvae.data.sources import read_source
from cdvae.stability.phase_reference import load_shipped
from cdvae.stability.potentials import load_potential
from cdvae.stability.relaxation import Relaxation, relax

BATCH = 20


def main() -> None:
    """Relax what the journal lacks and print the summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("csv", type=Path)
    parser.add_argument("journal", type=Path)
    parser.add_argument("--number", type=int, default=500)
    options = parser.parse_args()
    torch.set_num_threads(1)
    known = {phase.identifier for phase in load_shipped("chgnet-mp20").phases}
    rows = [row for row in read_source(options.csv, {}).rows if row.material_id in known]
    rows = random.Random(0).sample(rows, options.number)
    lines = options.journal.read_text().splitlines() if options.journal.exists() else []
    done = {line.split(",")[0] for line in lines}
    missing = [row for row in rows if row.material_id not in done]
    potential = load_potential("chgnet")
    for start in range(0, len(missing), BATCH):
        batch = missing[start : start + BATCH]
        found = relax([parse_cif(row.cif) for row in batch], potential)
        with options.journal.open("a", encoding="utf-8") as file:
            for row, one in zip(batch, found, strict=True):
                if isinstance(one, Relaxation):
                    lowering = one.energy_before - one.energy
                    line = f"{row.material_id},{lowering:.6f},{one.steps},{one.converged}"
                else:
                    line = f"{row.material_id},,,"
                lines.append(line)
                file.write(line + "\n")
        values = [float(text) for line in lines if (text := line.split(",")[1])]
        print(
            f"{len(values)} phases: relaxing lowers the energy by {statistics.fmean(values):.4f} "
            f"(mean), {statistics.median(values):.4f} (median), {max(values):.4f} (largest) "
            "eV/atom",
            flush=True,
        )


if __name__ == "__main__":
    main()
