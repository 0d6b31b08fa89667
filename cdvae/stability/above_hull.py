"""Energies above the hull: how far a crystal is from the most stable mixture of known phases."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from pymatgen.core.periodic_table import Element
from pymatgen.core.structure import Structure

from cdvae.stability.convex_hull import ConvexHull

METASTABLE = 0.1
"""eV/atom above the hull; most crystals that have been made are below."""


@dataclass(frozen=True)
class Stability:
    """The stability of a crystal by one potential and one hull.

    The values are None where `reason` says why they cannot be known.
    """

    potential: str
    hull: str
    energy_above_hull: float | None = None  # eV/atom; negative below the hull of known phases
    formation_energy: float | None = None  # eV/atom, from the elements
    decomposition: tuple[tuple[str, float, str], ...] = ()  # formula, share of the atoms, id
    stable: bool | None = None  # at most 0 eV/atom above the hull
    metastable: bool | None = None  # at most the threshold; stable crystals are included
    reason: str | None = None


def stability(
    structure: Structure,
    energy: float,
    potential: str,
    hull: ConvexHull,
    threshold: float = METASTABLE,
) -> Stability:
    """Return how stable ``structure`` is.

    Args:
        structure: the crystal; only its composition is used.
        energy: eV/atom of ``potential``.
        potential: its label.
        hull: of the same potential, or of a functional that the potential has been fitted to.
        threshold: eV/atom, below which a crystal counts as metastable.
    """
    reference = hull.reference
    amounts = dict(Counter(int(z) for z in structure.atomic_numbers))
    total = sum(amounts.values())
    shifts = reference.element_shifts(potential)
    if shifts is None:
        reason = f"hull {reference.name} is not fitted to {potential}"
        return Stability(potential, reference.name, reason=reason)
    if missing := hull.missing(amounts) | (frozenset(amounts) - frozenset(shifts)):
        symbols = ", ".join(Element.from_Z(z).symbol for z in sorted(missing))
        reason = f"hull {reference.name} has no energy of {symbols}"
        return Stability(potential, reference.name, reason=reason)
    shifted = energy - sum(n * shifts[z] for z, n in amounts.items()) / total
    elements = sum(n * reference.element_energies[z] for z, n in amounts.items()) / total
    point = hull.at(amounts)
    above = shifted - point.energy
    return Stability(
        potential,
        reference.name,
        above,
        shifted - elements,
        tuple((phase.formula, share, phase.identifier) for phase, share in point.decomposition),
        above <= 0,
        above <= threshold,
    )


def disagreement(first: Stability, second: Stability) -> float | None:
    """Return how far two energies above the hull differ, in eV/atom; None if one is unknown."""
    if first.energy_above_hull is None or second.energy_above_hull is None:
        return None
    return abs(first.energy_above_hull - second.energy_above_hull)
