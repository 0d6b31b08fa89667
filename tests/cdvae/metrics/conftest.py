"""Small crystals, and the real data sets if CDVAE_DATA is set."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from cdvae.data.dataset import CrystalDataset, load_cache
from cdvae.data.tensor_cache import prepare


@pytest.fixture
def perovskite() -> Structure:
    """Return cubic SrTiO3."""
    sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return Structure(Lattice.cubic(3.905), ["Sr", "Ti", "O", "O", "O"], sites)


@pytest.fixture
def rocksalt() -> Structure:
    """Return conventional MgO."""
    return Structure.from_spacegroup(225, Lattice.cubic(4.21), ["Mg", "O"], [[0] * 3, [0.5] * 3])


@pytest.fixture
def disguised() -> Callable[[Structure], Structure]:
    """Return a function that changes cell, frame, origin and order of the atoms of a crystal."""

    def disguise(structure: Structure) -> Structure:
        other = structure.copy()
        other.make_supercell([[1, 1, 0], [0, 1, 0], [1, 0, 2]])
        turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
        frac_coords = other.frac_coords[::-1] + np.array([0.13, -0.4, 0.7])
        return Structure(Lattice(other.lattice.matrix @ turn), other.species[::-1], frac_coords)

    return disguise


@pytest.fixture(scope="session")
def real_data(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], CrystalDataset]:
    """Return a loader of splits such as "perov_5/test"; skip if CDVAE_DATA is not set."""
    folder = os.environ.get("CDVAE_DATA")
    if folder is None:
        pytest.skip("CDVAE_DATA is not set")
    caches = tmp_path_factory.mktemp("caches")

    def load(split: str) -> CrystalDataset:
        cache = caches / f"{split.replace('/', '-')}.safetensors"
        if not cache.exists():
            prepare(Path(folder) / f"{split}.csv.gz", cache, {}, workers=2)
        return load_cache(cache)

    return load
