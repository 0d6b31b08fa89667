"""Energies of phases: from tables, from a potential, and brought to the scale of a functional."""

from __future__ import annotations

import csv
import gzip
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from pymatgen.core.composition import Composition as Formula
from pymatgen.core.periodic_table import Element
from pymatgen.io.ase import AseAtomsAdaptor

from cdvae.data.cell_reduction import parse_cif
from cdvae.data.sources import Row
from cdvae.errors import DataError
from cdvae.stability.phase_reference import Phase, composition_of
from cdvae.stability.potential import Potential, Untreatable

BATCH = 64
"""Structures between two entries in the journal."""


def amounts_of(formula: str) -> dict[int, int]:
    """Return the numbers of atoms by atomic number.

    Raises:
        ValueError: the formula has unknown elements or amounts that are not whole.
    """
    amounts = {Element(e.symbol).Z: n for e, n in Formula(formula).items()}
    if not amounts or any(n != round(n) or n < 1 for n in amounts.values()):
        raise ValueError(f"{formula!r} is not a formula with whole numbers of atoms")
    return {z: round(n) for z, n in amounts.items()}


def read_energies(
    path: Path, energy: str, only: Mapping[str, Sequence[str]] | None = None
) -> list[Phase]:
    """Return the phases of a CSV (.gz) with the columns formula, material_id and ``energy``.

    Rows without an energy are left out.

    Args:
        path: the table.
        energy: name of the column with eV/atom.
        only: columns and the values that a row may have there.

    Raises:
        DataError: the table cannot be read; the text names the row.
    """
    found = []
    for number, row in enumerate(_rows(path, ("formula", "material_id", energy)), start=1):
        if any(row.get(column) not in values for column, values in (only or {}).items()):
            continue
        if not row[energy]:
            continue
        try:
            composition = composition_of(amounts_of(row["formula"]))
            value = float(row[energy])
        except (ValueError, KeyError) as error:
            raise DataError(f"{path.name}, row {number}: {error}") from error
        found.append(Phase(composition, value, row["material_id"]))
    return found


def static_energies(
    rows: Sequence[Row],
    potential: Potential,
    journal: Path,
    progress: Callable[[int, int], None] | None = None,
) -> list[Phase]:
    """Return the phases of structures with the energies of ``potential``, unrelaxed.

    Structures that cannot be read or treated are left out. Each batch is appended to ``journal``;
    a later call with the same journal computes what is missing.

    Args:
        rows: structures as CIF.
        potential: evaluates them.
        journal: a CSV that the function writes: material_id, formula, energy_per_atom.
        progress: called with how many rows are done, and how many there are.
    """
    known = set()
    if journal.exists():
        known = {row["material_id"] for row in _rows(journal, ("material_id",))}
    else:
        journal.parent.mkdir(parents=True, exist_ok=True)
        journal.write_text("material_id,formula,energy_per_atom\n", encoding="utf-8")
    missing = [row for row in rows if row.material_id not in known]
    for start in range(0, len(missing), BATCH):
        batch = missing[start : start + BATCH]
        lines = "".join(_lines(batch, potential))
        with journal.open("a", encoding="utf-8") as file:
            file.write(lines)
        if progress:
            progress(len(rows) - len(missing) + start + len(batch), len(rows))
    return read_energies(journal, "energy_per_atom")


def _lines(rows: Sequence[Row], potential: Potential) -> Iterable[str]:
    """Yield a line of the journal for each row; without an energy where there is none."""
    readable = {}
    for place, row in enumerate(rows):
        try:
            readable[place] = parse_cif(row.cif)
        except ValueError:
            continue
    atoms = [AseAtomsAdaptor.get_atoms(one) for one in readable.values()]
    energies = dict(zip(readable, potential.energies(atoms), strict=True))
    for place, row in enumerate(rows):
        energy = energies.get(place)
        if energy is None or isinstance(energy, Untreatable):
            yield f"{row.material_id},,\n"
            continue
        structure = readable[place]
        formula = structure.composition.formula.replace(" ", "")
        yield f"{row.material_id},{formula},{energy / len(structure):.6f}\n"


def fit_element_shifts(
    energies: Sequence[Phase], formation: Mapping[str, float]
) -> tuple[dict[str, float], float]:
    """Return elemental energies that turn a potential's energies into formation energies.

    The shifts minimize the sum of absolute differences, by iteratively reweighted least squares,
    so few structures with a wrong energy do not move them.

    Args:
        energies: structures with the potential's energies.
        formation: formation energies of the functional in eV/atom by identifier.

    Returns:
        The shift of each element in eV, and the mean absolute difference in eV/atom.

    Raises:
        ValueError: no structure has both energies.
    """
    both = [phase for phase in energies if phase.identifier in formation]
    if not both:
        raise ValueError("no structure has a formation energy")
    elements = sorted({z for phase in both for z, _ in phase.composition})
    matrix = np.zeros((len(both), len(elements)))
    for line, phase in enumerate(both):
        total = sum(n for _, n in phase.composition)
        for z, n in phase.composition:
            matrix[line, elements.index(z)] = n / total
    target = np.array([phase.energy - formation[phase.identifier] for phase in both])
    weight = np.ones(len(both))
    for _ in range(20):
        root = np.sqrt(weight)
        shifts, *_ = np.linalg.lstsq(matrix * root[:, None], target * root, rcond=None)
        weight = 1 / np.maximum(np.abs(matrix @ shifts - target), 1e-3)
    error = float(np.abs(matrix @ shifts - target).mean())
    pairs = zip(elements, shifts.tolist(), strict=True)
    return {Element.from_Z(z).symbol: round(shift, 5) for z, shift in pairs}, error


def _rows(path: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{path.name}: not a readable CSV file: {error}") from error
    limit = csv.field_size_limit(50_000_000)  # a column may hold CIFs
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
    finally:
        csv.field_size_limit(limit)
    if missing := [name for name in needed if rows and name not in rows[0]]:
        raise DataError(f"{path.name}: no column {', '.join(missing)}")
    return rows


def read_formation_energies(path: Path) -> dict[str, float]:
    """Return formation energies in eV/atom by identifier from a CSV (.gz); blanks are left out."""
    column = "formation_energy_per_atom"
    rows = _rows(path, ("material_id", column))
    found = {row["material_id"]: float(row[column]) for row in rows if row[column]}
    return {name: value for name, value in found.items() if math.isfinite(value)}
