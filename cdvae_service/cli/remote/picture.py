"""Pictures of crystals, drawn by ASE and matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

COLUMNS = 4
MOST = 12  # more would be too small to see
INCHES = 3.0  # of one crystal
LARGE_CELL = 40  # atoms; smaller cells are shown as 2 × 2 × 2


def draw(crystals: Sequence[Any], path: Path) -> int:
    """Draw the first crystals (ASE's `Atoms`) side by side into an image file; return their number.

    Raises ImportError without ASE or matplotlib.
    """
    from ase.visualize.plot import plot_atoms
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = crystals[:MOST]
    columns = min(len(shown), COLUMNS)
    rows = -(-len(shown) // COLUMNS)
    figure = Figure(figsize=(INCHES * columns, (INCHES + 0.2) * rows))
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False)
    for panel in panels.flat:
        panel.set_axis_off()
    for panel, atoms in zip(panels.flat, shown, strict=False):
        cell = atoms if len(atoms) >= LARGE_CELL else atoms.repeat(2)
        plot_atoms(cell, panel, rotation="12x,-18y,3z", radii=0.35, show_unit_cell=2)
        lengths = ", ".join(f"{length:.2f}" for length in atoms.cell.lengths())
        panel.set_title(f"{atoms.get_chemical_formula('metal')}\n{lengths} Å", fontsize=9)
        panel.set_axis_off()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    return len(shown)
