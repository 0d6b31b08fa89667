"""Tables of energies, the journal of computed ones, and fitted elemental energies."""

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from cdvae.data.cif_writer import write_cif
from cdvae.data.sources import Row
from cdvae.errors import DataError
from cdvae.stability.ase_potential import AsePotential
from cdvae.stability.phase_energies import (
    amounts_of,
    fit_element_shifts,
    read_energies,
    read_formation_energies,
    static_energies,
)
from cdvae.stability.phase_reference import Phase
from cdvae.stability.potential import Untreatable


def table(path: Path, text: str) -> Path:
    path.write_bytes(gzip.compress(text.encode()))
    return path


def test_a_table_is_read_with_its_conditions(tmp_path: Path) -> None:
    rows = "train,a,Na3N,-1.5\nval,b,NaN,-2\nother,c,Na,-1\ntrain,d,N2,\n"
    path = table(tmp_path / "t.csv.gz", "split,material_id,formula,energy_per_atom\n" + rows)
    found = read_energies(path, "energy_per_atom", {"split": ["train", "val"]})
    assert [(p.identifier, p.formula, p.energy) for p in found] == [
        ("a", "NNa3", -1.5),
        ("b", "NNa", -2.0),
    ]
    assert len(read_energies(path, "energy_per_atom")) == 3
    with pytest.raises(DataError, match="formation"):
        read_energies(path, "formation")


def test_a_bad_row_is_named(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv.gz", "material_id,formula,e\na,Na,-1\nb,Na0.5Cl,-1\n")
    with pytest.raises(DataError, match="row 2"):
        read_energies(path, "e")
    with pytest.raises(ValueError, match="Qq"):
        amounts_of("Qq2")


class Counting(AsePotential):
    """EMT that counts the structures that it was asked for."""

    asked = 0

    def energies(self, structures: Sequence[Atoms]) -> list[float | Untreatable]:
        """Return EMT's energies."""
        self.asked += len(structures)
        return super().energies(structures)


def row(name: str, element: str, a: float) -> Row:
    cif = write_cif(Structure(Lattice.cubic(a), [element], [[0, 0, 0]]), {})
    return Row(name, name, cif, ())


def test_computed_energies_are_kept_in_the_journal(tmp_path: Path) -> None:
    potential, journal = Counting(EMT()), tmp_path / "new" / "journal.csv"
    rows = [row("copper", "Cu", 2.5), row("xenon", "Xe", 4.0), Row("bad", "bad", "no CIF", ())]
    found = static_energies(rows, potential, journal)
    atoms = Atoms("Cu", cell=[2.5] * 3, pbc=True)
    atoms.calc = EMT()
    expected = pytest.approx(atoms.get_potential_energy(), abs=1e-5)
    assert [(p.identifier, p.energy) for p in found] == [("copper", expected)]
    assert potential.asked == 2
    more = static_energies([*rows, row("gold", "Au", 2.9)], potential, journal)
    assert [p.identifier for p in more] == ["copper", "gold"]
    assert potential.asked == 3


def test_fitted_shifts_are_found_again_despite_outliers(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    shifts = {3: -1.9, 8: -4.9, 26: -8.3}
    phases, formation = [], {}
    for number in range(200):
        chosen = generator.choice(list(shifts), size=2, replace=False).tolist()
        composition = tuple((z, int(generator.integers(1, 4))) for z in sorted(chosen))
        total = sum(n for _, n in composition)
        mixed = sum(n * shifts[z] for z, n in composition) / total
        formation[str(number)] = float(generator.normal(-1, 0.5))
        wrong = 3.0 if number % 20 == 0 else 0.0
        phases.append(Phase(composition, mixed + formation[str(number)] + wrong, str(number)))
    found, error = fit_element_shifts(phases, formation)
    assert found == pytest.approx({"Li": -1.9, "O": -4.9, "Fe": -8.3}, abs=1e-2)
    assert error == pytest.approx(0.15, abs=0.02)
    with pytest.raises(ValueError, match="formation"):
        fit_element_shifts(phases, {})


def test_blank_formation_energies_are_left_out(tmp_path: Path) -> None:
    text = "material_id,formation_energy_per_atom\na,-1.5\nb,\n"
    assert read_formation_energies(table(tmp_path / "t.csv.gz", text)) == {"a": -1.5}
