"""Label files: what is written is read, and damaged files are named."""

from pathlib import Path

import numpy as np
import pytest
from ase.calculators.emt import EMT
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from cdvae.errors import DataError
from cdvae.stability.ase_potential import AsePotential
from cdvae.stability.labels import label_file, label_seed, read_labels
from cdvae.stability.relaxation import Relaxation, relax


def crystals() -> list[Structure]:
    copper = Structure(Lattice.cubic(2.8), ["Cu"], [[0, 0, 0]])
    refused = Structure(Lattice.cubic(5), ["Xe", "Cu"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    alloy = Structure(Lattice.tetragonal(2.9, 3.6), ["Cu", "Au"], [[0, 0, 0], [0.5, 0.5, 0.45]])
    return [copper, refused, alloy]


def test_labels_are_read_as_they_were_made(tmp_path: Path) -> None:
    potential, folder = AsePotential(EMT(), "EMT", "1"), tmp_path / "labels"
    for seed in (8, 3):
        path = label_seed(folder, seed, crystals(), potential, {"model": "m"}, max_steps=20)
        assert path == label_file(folder, seed)
    found = list(read_labels(folder))
    assert [(one.seed, one.index) for one in found] == [(s, i) for s in (3, 8) for i in range(3)]
    expected = relax(crystals(), potential, max_steps=20)
    for one, given, relaxed in zip(found[:3], crystals(), expected, strict=True):
        assert list(one.structure.atomic_numbers) == list(given.atomic_numbers)
        assert np.allclose(one.structure.frac_coords, given.frac_coords, atol=1e-6)
        assert np.allclose(one.structure.lattice.matrix, given.lattice.matrix, atol=1e-5)
        if not isinstance(relaxed, Relaxation):
            assert one.reason == relaxed.reason
            assert (one.relaxed, one.energy, one.converged) == (None, None, False)
            continue
        assert one.relaxed is not None
        assert one.reason is None
        assert (one.energy, one.energy_before) == (relaxed.energy, relaxed.energy_before)
        assert (one.steps, one.converged) == (relaxed.steps, relaxed.converged)
        assert np.allclose(one.relaxed.lattice.matrix, relaxed.structure.lattice.matrix, atol=1e-5)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    label_file(tmp_path, 4).write_bytes(b"not tensors")
    with pytest.raises(DataError, match="labels-000004"):
        list(read_labels(tmp_path))
