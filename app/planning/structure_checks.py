"""Check input crystals of every format before the job is queued."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import gemmi

from cdvae_schema.cards import Limits
from cdvae_schema.crystal_records import CrystalInput

SHORTEST_EDGE, LONGEST_EDGE = 0.5, 500.0  # Å
VOLUME_PER_ATOM = (1.0, 1000.0)  # Å^3; far outside anything solid
COINCIDENT = 0.1  # Å; two atoms this close are one atom listed twice


class StructureError(Exception):
    """The reason why an input crystal cannot be used, with its CIF block and line."""

    def __init__(self, detail: str, *, block: str | None = None, line: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.block = block
        self.line = line


@dataclass(frozen=True)
class Cell:
    """A unit cell that passed the checks."""

    matrix: list[list[float]]  # rows are the cell vectors, Å
    volume: float  # Å^3

    def distance(self, one: Sequence[float], other: Sequence[float]) -> float:
        """Return the distance of two fractional positions through the nearest cell faces, Å.

        Exact for distances that are small compared with the cell; it is not used for others.
        """
        steps = [a - b - round(a - b) for a, b in zip(one, other, strict=True)]
        return math.hypot(
            *(sum(steps[row] * self.matrix[row][axis] for row in range(3)) for axis in range(3))
        )


def checked_cell(matrix: list[list[float]]) -> Cell:
    """Return the cell with these row vectors (Å); StructureError if no crystal can have it."""
    if not all(math.isfinite(value) for row in matrix for value in row):
        raise StructureError("the cell has numbers that are not finite")
    for name, row in zip("abc", matrix, strict=True):
        length = math.hypot(*row)
        if not SHORTEST_EDGE <= length <= LONGEST_EDGE:
            raise StructureError(
                f"cell edge {name} is {length:g} Å; it must lie between {SHORTEST_EDGE:g} and "
                f"{LONGEST_EDGE:g} Å"
            )
    a, b, c = matrix
    cross = (b[1] * c[2] - b[2] * c[1], b[2] * c[0] - b[0] * c[2], b[0] * c[1] - b[1] * c[0])
    volume = abs(sum(x * y for x, y in zip(a, cross, strict=True)))
    if volume < 1e-3:
        raise StructureError(f"the cell has no volume ({volume:g} Å³)")
    return Cell(matrix=matrix, volume=volume)


def cell_from_parameters(lengths: Sequence[float], angles: Sequence[float]) -> Cell:
    """Return the cell with these edges (Å) and angles (degrees), a along x, or StructureError."""
    names = ("a", "b", "c", "alpha", "beta", "gamma")
    for name, value in zip(names, (*lengths, *angles), strict=True):
        if not math.isfinite(value):
            raise StructureError(f"cell parameter {name} is not a finite number")
    for name, length in zip("abc", lengths, strict=True):
        if length <= 0:
            raise StructureError(f"cell edge {name} is {length:g} Å; it must be positive")
    for name, angle in zip(("alpha", "beta", "gamma"), angles, strict=True):
        if not 0 < angle < 180:
            raise StructureError(f"cell angle {name} is {angle:g}°; it must lie between 0 and 180°")
    cosines = [math.cos(math.radians(angle)) for angle in angles]
    square = 1 - sum(value**2 for value in cosines) + 2 * math.prod(cosines)
    if square <= 1e-12:
        raise StructureError(f"no cell has the angles {', '.join(f'{x:g}°' for x in angles)}")
    # gemmi's orthogonalisation matrix has the cell vectors as columns.
    columns = gemmi.UnitCell(*lengths, *angles).orth.mat.tolist()
    return checked_cell([[columns[axis][row] for axis in range(3)] for row in range(3)])


def atomic_number(symbol: str) -> int:
    """Return the atomic number of a symbol (deuterium counts as hydrogen), or 0."""
    return int(gemmi.Element(symbol).atomic_number)


def wrapped(position: Sequence[float]) -> list[float]:
    """Return the position moved into [0, 1)."""
    inside = [value - math.floor(value) for value in position]
    return [0.0 if value >= 1.0 else value for value in inside]


def checked_crystal(
    cell: Cell,
    atomic_numbers: list[int],
    frac_coords: list[list[float]],
    label: str,
    limits: Limits,
) -> CrystalInput:
    """Return the crystal for the queue; StructureError if the model does not accept it."""
    check_size(len(atomic_numbers), limits)
    known = set(limits.elements)
    unknown = sorted({gemmi.Element(z).name for z in atomic_numbers} - known)
    if unknown:
        raise StructureError(
            f"the model does not support {', '.join(unknown)}; it supports "
            f"{', '.join(sorted(known))}"
        )
    if not all(math.isfinite(value) for position in frac_coords for value in position):
        raise StructureError("a coordinate is not a finite number")
    per_atom = cell.volume / len(atomic_numbers)
    if not VOLUME_PER_ATOM[0] <= per_atom <= VOLUME_PER_ATOM[1]:
        raise StructureError(
            f"the cell has {per_atom:g} Å³ per atom; it must have between "
            f"{VOLUME_PER_ATOM[0]:g} and {VOLUME_PER_ATOM[1]:g}"
        )
    positions = [wrapped(position) for position in frac_coords]
    for later, position in enumerate(positions):
        for earlier in range(later):
            if cell.distance(position, positions[earlier]) < COINCIDENT:
                raise StructureError(f"atoms {earlier + 1} and {later + 1} have the same position")
    return CrystalInput(
        lattice=cell.matrix, atomic_numbers=atomic_numbers, frac_coords=positions, label=label[:200]
    )


def check_size(num_atoms: int, limits: Limits) -> None:
    """Raise StructureError if the cell has too few or too many atoms for the model."""
    low, high = limits.min_atoms, limits.max_atoms
    if not low <= num_atoms <= high:
        wanted = f"exactly {low}" if low == high else f"{low} to {high}"
        raise StructureError(
            f"the cell has {num_atoms} atoms; the model takes {wanted} "
            "(of the primitive cell, symmetry expanded)"
        )


def formula(atomic_numbers: Sequence[int]) -> str:
    """Return all atoms of a cell by element in the order of appearance, e.g. `Sr1 Ti1 O3`."""
    counts = Counter(gemmi.Element(z).name for z in atomic_numbers)
    return " ".join(f"{symbol}{count}" for symbol, count in counts.items())
