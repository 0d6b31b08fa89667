"""Read crystals from CIF text: expand symmetry, reject disorder, locate errors."""

import math
import re
from dataclasses import dataclass

import gemmi
from gemmi import cif

from app.planning.structure_checks import (
    COINCIDENT,
    Cell,
    StructureError,
    atomic_number,
    cell_from_parameters,
    check_size,
    checked_crystal,
    wrapped,
)
from cdvae_schema.cards import Limits
from cdvae_schema.crystal_records import CrystalInput

LENGTHS = ("_cell_length_a", "_cell_length_b", "_cell_length_c")
ANGLES = ("_cell_angle_alpha", "_cell_angle_beta", "_cell_angle_gamma")
OPERATIONS = ("_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz")
NAMES = ("_space_group_name_H-M_alt", "_symmetry_space_group_name_H-M")
HALL = ("_space_group_name_Hall", "_symmetry_space_group_name_Hall")
NUMBERS = ("_space_group_IT_number", "_symmetry_Int_Tables_number")
MOST_OPERATIONS = 192
OCCUPANCY_TOLERANCE = 1e-3

_SYNTAX = re.compile(r"^[^:]*:(\d+)(?::\d+\(\d+\))?:? ?(.*)$", re.DOTALL)
_HEADER = re.compile(r"(?<!\S)data_(\S*)", re.IGNORECASE)
_TYPE = re.compile(r"([A-Za-z]{1,2})(?:\d*\.?\d*[+-]?\d*)")
_LABEL = re.compile(r"([A-Za-z]{1,2})(?![A-Za-z])")


class CifSyntaxError(StructureError):
    """The text is not a CIF."""


@dataclass(frozen=True)
class BlockResult:
    """The crystal of one `data_` block, or the reason why it has none."""

    crystal: CrystalInput | None
    error: StructureError | None


def read_blocks(text: str, limits: Limits) -> list[BlockResult]:
    """Return the crystals of a CIF text, one for each `data_` block.

    Raises CifSyntaxError for text that cannot be read and StructureError for too many blocks.
    """
    _check_number_of_headers(text, limits)
    try:
        document = cif.read_string(text)
    except (ValueError, RuntimeError) as error:
        raise _syntax_fault(text, str(error)) from error
    if not len(document):
        raise CifSyntaxError("the CIF has no data_ block", line=1)
    if len(document) > limits.max_structures:
        raise StructureError(
            f"{len(document)} CIF blocks exceed the limit of the model ({limits.max_structures})"
        )
    return [_read_block(block, limits) for block in document]


def _check_number_of_headers(text: str, limits: Limits) -> None:
    """Raise StructureError for far too many blocks before the text is parsed.

    The time that gemmi needs grows with the square of the number of blocks: 900,000 fit into
    the body limit and would occupy a core for minutes. Quoted text may contain headers too,
    hence the margin.
    """
    most = 2 * limits.max_structures + 100
    for count, _ in enumerate(_HEADER.finditer(text), start=1):
        if count > most:
            raise StructureError(
                f"more than {most} CIF blocks exceed the limit of the model "
                f"({limits.max_structures})"
            )


def _read_block(block: cif.Block, limits: Limits) -> BlockResult:
    try:
        return BlockResult(_crystal(block, limits), None)
    except StructureError as error:
        located = StructureError(error.detail, block=block.name, line=error.line)
        return BlockResult(None, located)


def _crystal(block: cif.Block, limits: Limits) -> CrystalInput:
    columns = ["fract_x", "fract_y", "fract_z", "?label", "?type_symbol", "?occupancy"]
    sites = block.find("_atom_site_", columns)
    if len(sites) == 0:
        raise StructureError("the block has no atom sites with fractional coordinates")
    line = _line(block, "_atom_site_fract_x")
    try:
        cell = _cell(block)
        if len(sites) > limits.max_atoms:  # before the work of expanding them
            check_size(len(sites), limits)
        operations = _operations(block)
        atomic_numbers: list[int] = []
        frac_coords: list[list[float]] = []
        for row in sites:
            element, position = _site(row)
            images = _orbit(position, operations, cell)
            atomic_numbers += [element] * len(images)
            frac_coords += images
            if len(atomic_numbers) > limits.max_atoms:
                raise StructureError(
                    f"the cell has more than {limits.max_atoms} atoms once its symmetry is "
                    "expanded, which is the model's limit (give the primitive cell)"
                )
        return checked_crystal(cell, atomic_numbers, frac_coords, block.name, limits)
    except StructureError as error:
        raise StructureError(error.detail, line=error.line or line) from error


def _cell(block: cif.Block) -> Cell:
    values: list[float] = []
    for tag in (*LENGTHS, *ANGLES):
        text = block.find_value(tag)
        if not text or cif.is_null(text):
            raise StructureError(f"the cell is not given: {tag} is missing")
        value = cif.as_number(text)
        if not math.isfinite(value):
            raise StructureError(f"{tag} is {text[:40]}, not a number", line=_line(block, tag))
        values.append(value)
    try:
        return cell_from_parameters(values[:3], values[3:])
    except StructureError as error:
        raise StructureError(error.detail, line=_line(block, LENGTHS[0])) from error


def _site(row: cif.Table.Row) -> tuple[int, list[float]]:
    """Return atomic number and position of a row (x, y, z, label, type, occupancy)."""
    label = cif.as_string(row[3]) if row.has(3) else ""
    symbol = cif.as_string(row[4]) if row.has(4) else ""
    match = _TYPE.fullmatch(symbol) if symbol else _LABEL.match(label)
    element = atomic_number(match.group(1)) if match else 0
    name = f"site {label!r}" if label else "a site"
    if element == 0:
        raise StructureError(f"{name} has an unknown element ({(symbol or label)[:40]!r})")
    position = [cif.as_number(row[column]) for column in range(3)]
    if not all(math.isfinite(value) for value in position):
        given = ", ".join(row[column][:20] for column in range(3))
        raise StructureError(f"{name} has no finite position ({given})")
    # An occupancy of '.' or '?' is the CIF default, 1.
    if row.has(5) and not cif.is_null(row[5]):
        occupancy = cif.as_number(row[5])
        if not abs(occupancy - 1) <= OCCUPANCY_TOLERANCE:
            raise StructureError(
                f"{name} has occupancy {row[5][:20]}: disordered crystals are not supported"
            )
    return element, position


def _orbit(position: list[float], operations: list[gemmi.Op], cell: Cell) -> list[list[float]]:
    """Return the different images of a position; those closer than `COINCIDENT` are one."""
    found: list[list[float]] = []
    seen: set[tuple[float, ...]] = set()
    for operation in operations:
        image = wrapped(operation.apply_to_xyz(position))
        rounded = tuple(round(value, 6) for value in image)
        if rounded in seen:
            continue
        seen.add(rounded)
        if all(cell.distance(image, other) >= COINCIDENT for other in found):
            found.append(image)
    return found


def _operations(block: cif.Block) -> list[gemmi.Op]:
    """Return the symmetry operations of the block or of its space group, else the identity."""
    for tag in OPERATIONS:
        texts = list(block.find_values(tag))
        if not texts:
            continue
        line = _line(block, tag)
        if len(texts) > MOST_OPERATIONS:
            raise StructureError(f"{len(texts)} symmetry operations are too many", line=line)
        try:
            return [gemmi.Op(cif.as_string(text)) for text in texts]
        except (ValueError, RuntimeError) as error:
            raise StructureError(f"unreadable symmetry operation: {error}", line=line) from error
    for tag in (*HALL, *NAMES, *NUMBERS):
        text = block.find_value(tag)
        if not text or cif.is_null(text):
            continue
        name = cif.as_string(text)
        try:
            if tag in HALL:
                return list(gemmi.symops_from_hall(name))
            group = gemmi.find_spacegroup_by_name(name)
        except (ValueError, RuntimeError):
            group = None
        if group is None:
            raise StructureError(f"unknown space group {name[:40]!r}", line=_line(block, tag))
        return list(group.operations())
    return [gemmi.Op("x,y,z")]


def _line(block: cif.Block, tag: str) -> int | None:
    item = block.find_pair_item(tag) or block.find_loop_item(tag)
    return int(item.line_number) if item is not None else None


def _syntax_fault(text: str, message: str) -> CifSyntaxError:
    """Return the error with the parser's line and the block that contains it."""
    match = _SYNTAX.match(message)
    line, reason = (int(match.group(1)), match.group(2)) if match else (None, message)
    if line is None:
        return CifSyntaxError(reason.removeprefix("string: "))
    before = "\n".join(text.split("\n")[:line])
    headers = _HEADER.findall(before)
    return CifSyntaxError(reason, block=headers[-1] if headers else None, line=line)
