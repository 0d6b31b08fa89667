"""The report of one crystal, and the summary of many reports."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import spglib
from pymatgen.core.periodic_table import Element
from pymatgen.core.structure import Structure
from scipy.constants import atomic_mass

from cdvae.metrics.distribution import wasserstein_to_histogram, wasserstein_to_quantiles
from cdvae.metrics.validity import (
    MIN_DISTANCE,
    composition_valid,
    has_cell,
    shortest_contact,
    species_counts,
    structure_valid,
)

ATOMIC_MASS = atomic_mass * 1e27  # g/cm³ of one atomic mass unit in an Å³
SYMPREC = 0.1  # Å: generated coordinates carry noise of a few hundredths of an Å


@dataclass(frozen=True)
class CrystalReport:
    """The report of one crystal; a field is `None` if its value would not be meaningful."""

    formula: str
    reduced_formula: str
    num_atoms: int
    num_elements: int
    lattice: dict[str, Any] | None  # a, b, c (Å), alpha, beta, gamma (°), matrix (3×3 rows, Å)
    volume: float | None  # Å³
    density: float | None  # g/cm³
    spacegroup_number: int | None  # spglib, symprec 0.1 Å
    spacegroup_symbol: str | None
    min_distance: float | None  # Å, between any two atoms, periodic images of one atom included
    structure_valid: bool
    composition_valid: bool

    @property
    def valid(self) -> bool:
        """True if the structure and the composition are valid."""
        return self.structure_valid and self.composition_valid


def describe(structure: Structure) -> CrystalReport:
    """Return the report of an ordered structure; a failed sample is reported as invalid."""
    composition = structure.composition.element_composition
    usable = has_cell(structure)
    contact = shortest_contact(structure) if usable else None
    # The search for symmetry is by far the slowest step, so it follows the quick tests.
    apart = contact is not None and contact >= MIN_DISTANCE
    number, symbol = _spacegroup(structure) if apart else (None, None)
    return CrystalReport(
        formula=composition.formula,
        reduced_formula=composition.reduced_formula,
        num_atoms=len(structure),
        num_elements=len(composition),
        lattice=lattice_fields(structure),
        volume=float(structure.volume) if usable else None,
        density=_density(structure) if usable else None,
        spacegroup_number=number,
        spacegroup_symbol=symbol,
        min_distance=contact,
        structure_valid=apart or structure_valid(structure),
        composition_valid=composition_valid(species_counts(structure)),
    )


def _density(structure: Structure) -> float:
    """Return the density in g/cm³, without the slow unit arithmetic of pymatgen."""
    return _mass(structure.atomic_numbers) * ATOMIC_MASS / float(structure.volume)


@lru_cache(maxsize=10_000)
def _mass(atomic_numbers: tuple[int, ...]) -> float:
    return sum(float(Element.from_Z(z).atomic_mass) for z in atomic_numbers)


def lattice_fields(structure: Structure) -> dict[str, Any] | None:
    """Return a, b, c in Å, alpha, beta, gamma in degrees, and the matrix with rows in Å.

    The result is `None` if a number is not finite or a vector has no length.
    """
    lattice = structure.lattice
    if not (np.isfinite(lattice.matrix).all() and min(lattice.abc) > 0):
        return None
    names = ("a", "b", "c", "alpha", "beta", "gamma")
    values = {name: float(value) for name, value in zip(names, lattice.parameters, strict=True)}
    return {**values, "matrix": lattice.matrix.tolist()}


def summarize(
    reports: Sequence[CrystalReport],
    duplicates: Sequence[int | None],
    novel: Sequence[bool | None],
    predicted: Mapping[str, Sequence[float]],
    reference: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the `metrics` of a result; a number over no crystal at all is `None`.

    Validities are fractions (0 to 1) of all crystals. Uniqueness (no earlier crystal is the same)
    and novelty (not in the training data) are fractions of the structurally valid crystals. Means
    and Wasserstein distances to the training distribution use the valid crystals, as in the
    paper. The energy is the first property of `reference["property_quantiles"]` with "energy" in
    its name.

    Args:
        reports, duplicates, novel: one entry for each crystal.
        predicted: one value for each crystal, by property.
        reference: the statistics of `training_statistics.describe_training_data`.
    """
    known = {len(reports), len(duplicates), len(novel), *map(len, predicted.values())}
    if len(known) != 1:
        raise ValueError(f"entries for different numbers of crystals: {sorted(known)}")
    intact = [i for i, report in enumerate(reports) if report.structure_valid]
    valid = [i for i in intact if reports[i].composition_valid]
    density = [reports[i].density for i in valid]
    elements = [reports[i].num_elements for i in valid]
    histogram = reference["num_elements_histogram"]
    spread = {"wasserstein": wasserstein_to_histogram(elements, histogram) if elements else None}
    energies = reference["property_quantiles"]
    name = next((n for n in energies if "energy" in n and n in predicted), None)
    energy = _moments([predicted[name][i] for i in valid], energies[name]) if name else None
    return {
        "num_samples": len(reports),
        "structure_validity": _fraction([report.structure_valid for report in reports]),
        "composition_validity": _fraction([report.composition_valid for report in reports]),
        "validity": _fraction([report.valid for report in reports]),
        "uniqueness": _fraction([duplicates[i] is None for i in intact]),
        "novelty": _fraction([bool(novel[i]) for i in intact if novel[i] is not None]),
        "density": _moments(density, reference["density_quantiles"]),
        "num_elements": spread,
        "energy": None
        if energy is None
        else {"mean": energy["mean"], "wasserstein": energy["wasserstein"]},
    }


def _fraction(flags: Sequence[bool]) -> float | None:
    return sum(flags) / len(flags) if flags else None


def _moments(values: Sequence[Any], reference: Sequence[float]) -> dict[str, float | None]:
    if not values:
        return {"mean": None, "std": None, "wasserstein": None}
    return {
        "mean": float(np.mean(values)),
        "std": float(np.std(values)),
        "wasserstein": wasserstein_to_quantiles(values, reference),
    }


def _spacegroup(structure: Structure) -> tuple[int | None, str | None]:
    """Return the number and the Hermann-Mauguin symbol at 0.1 Å.

    spglib is used rather than the faster moyopy, which does not return for some very flat cells.
    """
    numbers = [site.specie.Z for site in structure]
    cell: Any = (
        structure.lattice.matrix,
        structure.frac_coords,
        numbers,
    )  # spglib declares sequences
    with warnings.catch_warnings():
        # spglib 2 warns that version 3 will raise instead of returning None.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            dataset = spglib.get_symmetry_dataset(cell, symprec=SYMPREC)
        except spglib.SpglibError:
            dataset = None
    return (None, None) if dataset is None else (int(dataset.number), str(dataset.international))
