"""Hulls against pymatgen's phase diagrams, and the files of references."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core.composition import Composition
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from cdvae.errors import DataError
from cdvae.stability.above_hull import Stability, disagreement, stability
from cdvae.stability.convex_hull import ConvexHull
from cdvae.stability.phase_reference import (
    Phase,
    PhaseReference,
    composition_of,
    load_shipped,
    lowest,
    read_reference,
    write_reference,
)

ELEMENTS = (3, 8, 22, 56, 26)  # Li O Ti Ba Fe
CARD = {"name": "made-up", "version": "1", "potential": "P 1"}


def phases(seed: int = 0) -> list[Phase]:
    """Random compounds of five elements, several for each system."""
    generator = np.random.default_rng(seed)
    found = [Phase(((z, 1),), -float(z % 5) - 1, f"element-{z}") for z in ELEMENTS]
    for size in (2, 3, 4):
        for system in combinations(ELEMENTS, size):
            for _ in range(6):
                amounts = dict(zip(system, generator.integers(1, 5, size).tolist(), strict=True))
                total = sum(amounts.values())
                mixed = sum(n * (-float(z % 5) - 1) for z, n in amounts.items()) / total
                energy = mixed + float(generator.normal(-0.3, 0.3))
                found.append(Phase(composition_of(amounts), energy, f"phase-{len(found)}"))
    return found


def hull() -> ConvexHull:
    return ConvexHull(PhaseReference(lowest(phases()), CARD))


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_energy_and_decomposition_agree_with_pymatgen(size: int) -> None:
    generator, own = np.random.default_rng(1), hull()
    for system in combinations(ELEMENTS, size):
        entries = [
            PDEntry(Composition(phase.formula), phase.energy * Composition(phase.formula).num_atoms)
            for phase in phases()
            if {z for z, _ in phase.composition} <= set(system)
        ]
        diagram = PhaseDiagram(entries)
        amounts = dict(zip(system, generator.integers(1, 7, size).tolist(), strict=True))
        composition = Composition({_symbol(z): n for z, n in amounts.items()})
        point = own.at(amounts)
        assert point.energy == pytest.approx(diagram.get_hull_energy_per_atom(composition))
        expected = {
            entry.composition.reduced_formula: share
            for entry, share in diagram.get_decomposition(composition).items()
        }
        found = {Composition(p.formula).reduced_formula: s for p, s in point.decomposition}
        assert found == pytest.approx(expected, abs=1e-6)
        assert sum(found.values()) == pytest.approx(1)


def _symbol(z: int) -> str:
    return Phase(((z, 1),), 0.0, "").formula


def test_a_crystal_is_measured_from_the_mixture_of_its_neighbors() -> None:
    """Two compounds at −1 eV/atom of formation; their mixture is the hull between them."""
    found = [
        Phase(((3, 1),), -2.0, "li"),
        Phase(((8, 1),), -4.0, "o"),
        Phase(((3, 2), (8, 1)), -8 / 3 - 1, "li2o"),
        Phase(((3, 1), (8, 1)), -3.0 - 1, "lio"),
        Phase(((3, 1), (8, 1)), -3.0 - 0.5, "lio-high"),
    ]
    own = ConvexHull(PhaseReference(lowest(found), CARD))
    crystal = Structure(
        Lattice.cubic(5), ["Li"] * 3 + ["O"] * 2, [[i / 5, i / 5, i / 5] for i in range(5)]
    )
    mean = -(3 * 2 + 2 * 4) / 5
    result = stability(crystal, mean - 1 + 0.05, "P 1", own)
    assert result.energy_above_hull == pytest.approx(0.05)
    assert result.formation_energy == pytest.approx(-0.95)
    assert (result.stable, result.metastable) == (False, True)
    shares = {formula: (share, name) for formula, share, name in result.decomposition}
    assert shares == {"Li2O": (pytest.approx(0.6), "li2o"), "LiO": (pytest.approx(0.4), "lio")}
    assert stability(crystal, mean - 1 + 0.05, "P 1", own, threshold=0.04).metastable is False
    below = stability(crystal, mean - 1 - 0.2, "P 1", own)
    assert below.energy_above_hull == pytest.approx(-0.2)
    assert below.stable is True
    assert disagreement(result, below) == pytest.approx(0.25)


def test_what_a_hull_cannot_know_is_a_reason() -> None:
    alien = Structure(Lattice.cubic(4), ["Xe", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    known = Structure(Lattice.cubic(4), ["Li", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    for result, word in (
        (stability(alien, -3.0, "P 1", hull()), "Xe"),
        (stability(known, -3.0, "Q 2", hull()), "Q 2"),
    ):
        assert word in (result.reason or "")
        assert result.energy_above_hull is None
        assert (result.stable, result.metastable, result.decomposition) == (None, None, ())
    nothing = Stability("P 1", "h", reason="unknown")
    assert disagreement(nothing, stability(known, -3.0, "P 1", hull())) is None


def test_fitted_shifts_bring_an_energy_to_the_scale_of_the_hull() -> None:
    card = {"name": "dft", "version": "1", "element_shifts": {"P 1": {"Li": -2.0, "O": -4.0}}}
    found = [Phase(((3, 1),), 0.0, "li"), Phase(((8, 1),), 0.0, "o")]
    crystal = Structure(Lattice.cubic(4), ["Li", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    result = stability(crystal, -3.3, "P 1", ConvexHull(PhaseReference(tuple(found), card)))
    assert result.energy_above_hull == pytest.approx(-0.3)
    assert result.formation_energy == pytest.approx(-0.3)


def test_a_system_of_many_elements_is_answered() -> None:
    found = phases() + [Phase(((z, 1),), -1.0, f"element-{z}") for z in range(30, 42)]
    amounts = dict.fromkeys([*ELEMENTS, *range(30, 42)], 1)
    own = ConvexHull(PhaseReference(lowest(found), CARD))
    assert own.at(amounts).energy < sum(-1.0 for _ in amounts) / len(amounts)


def test_a_reference_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = PhaseReference(lowest(phases()), CARD)
    path = write_reference(made, tmp_path)
    found = read_reference(path)
    assert [(p.composition, p.identifier) for p in found.phases] == [
        (p.composition, p.identifier) for p in made.phases
    ]
    energies = [p.energy for p in made.phases]
    assert [p.energy for p in found.phases] == pytest.approx(energies, abs=1e-6)
    assert found.name == "made-up@1"
    assert found.card["count"] == len(made.phases)
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match="made-up"):
        read_reference(path)


def test_only_the_lowest_of_a_composition_is_kept() -> None:
    same = [Phase(((3, 1), (8, 1)), energy, name) for energy, name in ((-1, "b"), (-2, "a"))]
    assert [phase.identifier for phase in lowest(same)] == ["a"]
    assert composition_of({8: 4, 3: 2}) == ((3, 1), (8, 2))


@pytest.mark.parametrize("name", ["mp-dft", "chgnet-mp20"])
def test_a_shipped_reference_knows_its_source_and_the_elements(name: str) -> None:
    reference = load_shipped(name)
    assert {"source", "licence", "count", "cannot_know"} <= reference.card.keys()
    assert ("potential" in reference.card) != ("functional" in reference.card)
    assert reference.card["count"] == len(reference.phases) > 20_000
    assert len(reference.elements) >= 85
    shifts = reference.element_shifts("CHGNet 0.4.2 (weights 0.3.0)")
    assert shifts is not None
    assert len(shifts) >= 85


def test_rutile_is_on_the_hull_of_the_materials_project() -> None:
    own = ConvexHull(load_shipped("mp-dft"))
    point = own.at({22: 1, 8: 2})
    assert [phase.composition for phase, _ in point.decomposition] == [((8, 2), (22, 1))]
    assert point.energy == pytest.approx(-3.45, abs=0.15)  # eV/atom, Materials Project


def test_an_unknown_reference_is_named() -> None:
    with pytest.raises(DataError, match=r"nothing.*mp-dft"):
        load_shipped("nothing")
