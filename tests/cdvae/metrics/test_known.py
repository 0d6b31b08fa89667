from collections.abc import Callable

import numpy as np
import pytest
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from cdvae.data.dataset import CrystalDataset
from cdvae.data.structures import to_structures
from cdvae.metrics.known_crystals import known_crystals
from cdvae.metrics.matching import match

Disguise = Callable[[Structure], Structure]


def test_known_crystals_are_found_in_any_cell(
    perovskite: Structure, rocksalt: Structure, disguised: Disguise
) -> None:
    swapped = perovskite.copy()
    swapped.replace_species({"Sr": "Ba"})
    caesium = Structure(Lattice.cubic(2.7), ["Mg", "O"], [[0] * 3, [0.5] * 3])  # as CsCl
    broken = Structure(Lattice.cubic(4), ["H"], [[np.nan, 0, 0]])
    questions = [disguised(perovskite), swapped, rocksalt, caesium, broken]
    assert known_crystals(questions, [perovskite, rocksalt]) == [True, False, True, False, False]
    assert known_crystals(questions, []) == [False] * 5
    assert known_crystals([], [perovskite]) == []


def test_processes_and_progress(perovskite: Structure, rocksalt: Structure) -> None:
    seen: list[tuple[int, int]] = []
    found = known_crystals(
        [perovskite, rocksalt] * 5, [rocksalt], 2, lambda *done: seen.append(done)
    )
    assert found == [False, True] * 5
    assert seen[-1] == (10, 10)


@pytest.mark.data
def test_crystals_match_themselves(real_data: Callable[[str], CrystalDataset]) -> None:
    """All crystals of two data sets match with an error of 0."""
    for split in ("perov_5/test", "carbon_24/test"):
        structures = to_structures(real_data(split).select(range(60)).crystals)
        distances = [match(structure, structure) for structure in structures]
        assert None not in distances
        assert max(rms for rms in distances if rms is not None) < 1e-6
        assert all(known_crystals(structures[:20], structures[:20]))
