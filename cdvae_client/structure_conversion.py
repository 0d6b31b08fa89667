"""Conversion of the caller's crystals to the form that the service accepts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from cdvae_schema.crystal_records import CrystalRecord

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core.structure import Structure

Given: TypeAlias = "str | Path | dict[str, Any] | CrystalRecord | Structure | Atoms"
"""A path to a CIF file or CIF text, pymatgen's `Structure` or its dictionary, ASE's `Atoms`, or a
crystal that this client returned."""


def as_inputs(given: Any) -> list[dict[str, Any]]:
    """Return `StructureInput` objects for one or several crystals; raises TypeError."""
    # Crystal objects of pydantic, pymatgen and ASE are iterable too.
    several = isinstance(given, Iterable) and not (
        isinstance(given, str | dict | CrystalRecord)
        or hasattr(given, "as_dict")
        or hasattr(given, "get_scaled_positions")
    )
    return [_as_input(one) for one in (given if several else [given])]


def _as_input(given: Any) -> dict[str, Any]:
    if isinstance(given, CrystalRecord):
        return {"cif": given.cif}
    if isinstance(given, str) and "\n" in given:
        return {"cif": given}
    if isinstance(given, str | Path):
        return {"cif": Path(given).read_text(encoding="utf-8-sig")}
    if isinstance(given, dict):
        return {"structure": given}
    if hasattr(given, "as_dict"):
        return {"structure": given.as_dict()}
    if hasattr(given, "get_scaled_positions"):
        return {"structure": _from_atoms(given)}
    raise TypeError(f"{type(given).__name__} is not a supported crystal type")


def _from_atoms(atoms: Any) -> dict[str, Any]:
    """Convert ASE's `Atoms` to pymatgen's dictionary."""
    positions = atoms.get_scaled_positions().tolist()
    sites = [
        {"species": [{"element": symbol, "occu": 1}], "abc": position}
        for symbol, position in zip(atoms.get_chemical_symbols(), positions, strict=True)
    ]
    return {
        "lattice": {"matrix": atoms.cell.tolist(), "pbc": [bool(one) for one in atoms.pbc]},
        "sites": sites,
    }
