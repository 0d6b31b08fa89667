"""Read crystals from pymatgen's `Structure.as_dict()`, without pymatgen."""

from collections.abc import Sequence
from typing import Any

from app.planning.structure_checks import (
    StructureError,
    atomic_number,
    cell_from_parameters,
    check_size,
    checked_cell,
    checked_crystal,
)
from cdvae_schema.cards import Limits
from cdvae_schema.crystal_records import CrystalInput

OCCUPANCY_TOLERANCE = 1e-3


class PathError(StructureError):
    """An error at a path inside the dictionary."""

    def __init__(self, detail: str, path: tuple[str | int, ...]) -> None:
        super().__init__(detail)
        self.path = path


def read_structure(data: dict[str, Any], label: str, limits: Limits) -> CrystalInput:
    """Return the crystal of a dictionary; PathError or StructureError if it is invalid."""
    lattice = data.get("lattice")
    if not isinstance(lattice, dict):
        raise PathError("a structure needs its 'lattice' as an object", ("lattice",))
    sites = data.get("sites")
    if not isinstance(sites, list) or not sites:
        raise PathError("a structure needs a list of 'sites' that is not empty", ("sites",))
    check_size(len(sites), limits)
    if lattice.get("pbc", [True] * 3) not in ([True] * 3, [1] * 3):
        raise PathError("the structure is not periodic in three directions", ("lattice", "pbc"))
    try:
        if "matrix" in lattice:
            cell = checked_cell(_rows(lattice["matrix"], ("lattice", "matrix")))
        else:
            names = ("a", "b", "c", "alpha", "beta", "gamma")
            values = [_number(lattice.get(name), ("lattice", name)) for name in names]
            cell = cell_from_parameters(values[:3], values[3:])
    except PathError:
        raise
    except StructureError as error:
        raise PathError(error.detail, ("lattice",)) from error
    atomic_numbers = [_element(site, ("sites", number)) for number, site in enumerate(sites)]
    frac_coords = [
        _vector(site.get("abc"), ("sites", number, "abc")) for number, site in enumerate(sites)
    ]
    return checked_crystal(cell, atomic_numbers, frac_coords, label, limits)


def _element(site: Any, path: tuple[str | int, ...]) -> int:
    """Return the atomic number of a site with exactly one, fully occupying element."""
    species = site.get("species") if isinstance(site, dict) else None
    if not isinstance(species, list) or not all(isinstance(one, dict) for one in species):
        raise PathError("a site needs its 'species' as a list of objects", path)
    if len(species) != 1:
        detail = f"a site has {len(species)} species: disordered crystals are not supported"
        raise PathError(detail, (*path, "species"))
    occupancy = _number(species[0].get("occu", 1), (*path, "species", 0, "occu"))
    if abs(occupancy - 1) > OCCUPANCY_TOLERANCE:
        detail = f"a site has occupancy {occupancy:g}: disordered crystals are not supported"
        raise PathError(detail, (*path, "species", 0, "occu"))
    symbol = species[0].get("element")
    number = atomic_number(symbol) if isinstance(symbol, str) else 0
    if number == 0:
        detail = f"{str(symbol)[:40]!r} is not an element"
        raise PathError(detail, (*path, "species", 0, "element"))
    return number


def _rows(value: Any, path: tuple[str | int, ...]) -> list[list[float]]:
    if not isinstance(value, list) or len(value) != 3:
        raise PathError("it must have three rows of three numbers", path)
    return [_vector(row, (*path, number)) for number, row in enumerate(value)]


def _vector(value: Any, path: tuple[str | int, ...]) -> list[float]:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 3:
        raise PathError("it must have three numbers", path)
    return [_number(one, (*path, number)) for number, one in enumerate(value)]


def _number(value: Any, path: tuple[str | int, ...]) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e9:
        raise PathError("it must be a number between −1e9 and 1e9", path)
    if value != value:
        raise PathError("it must be a finite number", path)
    return float(value)
