"""Given crystals in the form that the model takes."""

from __future__ import annotations

from collections.abc import Sequence

from pymatgen.core.lattice import Lattice
from pymatgen.core.periodic_table import Element
from pymatgen.core.structure import Structure

from cdvae.data.structures import from_structure
from cdvae.geometry.crystal import CrystalBatch
from cdvae_schema.crystal_records import CrystalInput


def read_inputs(structures: Sequence[CrystalInput]) -> CrystalBatch:
    """Return the given crystals in reduced cells, like those of the training data."""
    return CrystalBatch.cat(
        [
            from_structure(
                Structure(
                    Lattice(given.lattice),
                    list(map(Element.from_Z, given.atomic_numbers)),
                    given.frac_coords,
                )
            )
            for given in structures
        ]
    )
