"""Write CIFs of six elements that MP-20's training and validation structures lack.

    python -m benchmarks.stability.elemental_phases FOLDER

Without them a hull of these structures has no corner at B, Ir, La, Mn, Ni and Ta. The cells are
the experimental ones of standard tables (α-B, Ir, La dhcp, α-Mn, Ni, Ta), relaxed with CHGNet.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from cdvae.data.cif_writer import write_cif
from cdvae.stability.potential import Untreatable
from cdvae.stability.potentials import load_potential
from cdvae.stability.relaxation import relax


def elements() -> dict[str, Structure]:
    """Return the crystals by the name of their file."""

    def made(group: str, lattice: Lattice, element: str, sites: list[list[float]]) -> Structure:
        full = Structure.from_spacegroup(group, lattice, [element] * len(sites), sites)
        return full.get_primitive_structure()

    boron = [[0.11886, -0.11886, -0.10878], [0.19686, -0.19686, 0.02432]]
    origin = [0.0, 0.0, 0.0]
    manganese = [origin, [0.317, 0.317, 0.317], [0.357, 0.357, 0.034], [0.089, 0.089, 0.282]]
    return {
        "element-B": made("R-3m", Lattice.hexagonal(4.927, 12.564), "B", boron),
        "element-Ir": made("Fm-3m", Lattice.cubic(3.84), "Ir", [origin]),
        "element-La": made(
            "P6_3/mmc", Lattice.hexagonal(3.77, 12.14), "La", [origin, [1 / 3, 2 / 3, 0.25]]
        ),
        "element-Mn": made("I-43m", Lattice.cubic(8.914), "Mn", manganese),
        "element-Ni": made("Fm-3m", Lattice.cubic(3.52), "Ni", [origin]),
        "element-Ta": made("Im-3m", Lattice.cubic(3.30), "Ta", [origin]),
    }


def main(folder: Path) -> None:
    """Relax the crystals and write them to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    given = elements()
    for name, found in zip(
        given, relax(list(given.values()), load_potential("chgnet")), strict=True
    ):
        if isinstance(found, Untreatable):
            raise SystemExit(f"{name}: {found.reason}")
        print(f"{name}: {len(found.structure)} atoms, {found.energy:.4f} eV/atom")
        (folder / f"{name}.cif").write_text(write_cif(found.structure, {}), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
