"""Draws the crystals of a folder of CIF files side by side.

python benchmarks/draw_crystals.py out --out docs/crystals.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
from ase.io import read
from ase.visualize.plot import plot_atoms

mpl.use("Agg")
import matplotlib.pyplot as plt

COLUMNS = 4


def main() -> None:
    """Reads the first eight CIF files and draws 2 × 2 × 2 cells of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--number", type=int, default=8)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    files = sorted(arguments.folder.glob("*.cif"))[: arguments.number]
    rows = -(-len(files) // COLUMNS)
    figure, panels = plt.subplots(rows, COLUMNS, figsize=(3 * COLUMNS, 3.2 * rows), squeeze=False)
    for panel in panels.flat:
        panel.set_axis_off()
    for panel, file in zip(panels.flat, files, strict=False):
        atoms = read(file)
        formula = atoms.get_chemical_formula("metal")
        cell = ", ".join(f"{length:.2f}" for length in atoms.cell.lengths())
        plot_atoms(atoms.repeat(2), panel, rotation="12x,-18y,3z", radii=0.35, show_unit_cell=1)
        panel.set_title(f"{formula}\n{cell} Å", fontsize=9)
        panel.set_axis_off()
    figure.tight_layout()
    figure.savefig(arguments.out, dpi=110)


if __name__ == "__main__":
    main()
