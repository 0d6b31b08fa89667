"""Compare the shipped hulls with the Materials Project and with each other; note it in their cards.

    python -m benchmarks.stability.check_hulls FOLDER_OF_DATA [--number 500]

The folder has ``mp_20/val.csv.gz`` and ``mp20_chgnet_energies.csv.gz``. A phase of the validation
structures is itself part of both hulls, so the differences measure the hulls and the fit, not how
well new crystals are predicted.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from pathlib import Path

from cdvae.stability.convex_hull import ConvexHull
from cdvae.stability.phase_energies import read_energies
from cdvae.stability.phase_reference import load_shipped, shipped_folder

POTENTIAL = "CHGNet 0.4.2 (weights 0.3.0)"


def main() -> None:
    """Compute the differences and write them to the cards."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--number", type=int, default=500)
    options = parser.parse_args()
    own, dft = ConvexHull(load_shipped("chgnet-mp20")), ConvexHull(load_shipped("mp-dft"))
    energies = read_energies(
        options.data / "mp20_chgnet_energies.csv.gz", "energy_per_atom", {"split": ["val"]}
    )
    published = read_published(options.data / "mp_20" / "val.csv.gz")
    chosen = random.Random(0).sample(
        [phase for phase in energies if phase.identifier in published], options.number
    )
    shifts = dft.reference.element_shifts(POTENTIAL) or {}
    of_dft, of_potential, between = [], [], []
    for phase in chosen:
        formation, above = published[phase.identifier]
        amounts = dict(phase.composition)
        if own.missing(amounts) or dft.missing(amounts):
            continue
        point, total = dft.at(amounts).energy, sum(amounts.values())
        shifted = phase.energy - sum(n * shifts[z] for z, n in amounts.items()) / total - point
        self_consistent = phase.energy - own.at(amounts).energy
        of_dft.append(abs(formation - point - above))
        of_potential.append(abs(self_consistent - above))
        between.append(abs(self_consistent - shifted))
    count = len(between)
    note("mp-dft", "mean_difference_from_published_e_above_hull", of_dft, count)
    note("chgnet-mp20", "mean_difference_from_published_e_above_hull", of_potential, count)
    note("chgnet-mp20", "mean_difference_from_mp-dft_with_shifts", between, count)


def read_published(path: Path) -> dict[str, tuple[float, float]]:
    """Return the formation energy and the energy above the hull of each material, eV/atom."""
    import csv
    import gzip

    csv.field_size_limit(50_000_000)
    with gzip.open(path, "rt") as file:
        return {
            row["material_id"]: (
                float(row["formation_energy_per_atom"]),
                float(row["e_above_hull"]),
            )
            for row in csv.DictReader(file)
        }


def note(name: str, check: str, differences: list[float], count: int) -> None:
    """Write one check to the card of a reference and print it."""
    path = shipped_folder() / f"{name}.json"
    card = json.loads(path.read_text(encoding="utf-8"))
    values = {
        "eV_per_atom": round(statistics.fmean(differences), 4),
        "median": round(statistics.median(differences), 4),
        "largest": round(max(differences), 4),
        "structures": count,
    }
    card.setdefault("checks", {})[check] = values
    path.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(name, check, values)


if __name__ == "__main__":
    main()
