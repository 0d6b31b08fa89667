"""CIF output that states the origin of the crystal."""

from collections.abc import Mapping

import numpy as np
from pymatgen.core.structure import Structure
from pymatgen.io.cif import CifWriter

DECIMALS = 8  # in Å, degrees and fractional coordinates: errors far below 1e-6 Å
MAX_LINE = 2048  # CIF 1.1


def write_cif(structure: Structure, provenance: Mapping[str, str | int]) -> str:
    """Return the structure as a CIF block in P1, in its given cell, with its `provenance`.

    The provenance is written twice: as `# name: value` comments for people and as
    `_audit_creation_method` for programs. Its `index` becomes part of the block name, so that many
    crystals can share one file.

    Raises:
        ValueError: the structure has no sites or a number is not finite.
    """
    if len(structure) == 0:
        raise ValueError("no sites")
    if not (
        np.isfinite(structure.lattice.matrix).all() and np.isfinite(structure.cart_coords).all()
    ):
        raise ValueError("non-finite cell or coordinates")
    ((name, block),) = CifWriter(structure, significant_figures=DECIMALS).cif_file.data.items()
    items = {_ascii(key): _ascii(value) for key, value in provenance.items()}
    block.header = f"{name}_{items['index'].replace(' ', '_')}" if "index" in items else name
    if items:
        method = ", ".join(f"{key}: {value}" for key, value in items.items())
        block.data = {"_audit_creation_method": method, **block.data}
        block.max_len = MAX_LINE  # a text field of several lines could hold a line like `data_x`
    comments = "".join(f"# {key}: {value}\n" for key, value in items.items())
    return f"{comments}{block}\n"


def _ascii(value: str | int) -> str:
    """Return one line of printable ASCII (CIF 1.1) without the delimiters of CIF values."""
    line = " ".join(str(value).split())
    return "".join(c if " " <= c <= "~" and c not in "\"'#;" else "?" for c in line)
