"""Draw the crystals of a folder of CIF files side by side.

python -m benchmarks.figures.draw_crystals out --out docs/crystals.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ase.io import read

from cdvae_service.cli.remote.picture import draw


def main() -> None:
    """Read the first eight CIF files and draw 2 × 2 × 2 cells of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--number", type=int, default=8)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    files = sorted(arguments.folder.glob("*.cif"))[: arguments.number]
    draw([read(file) for file in files], arguments.out)


if __name__ == "__main__":
    main()
