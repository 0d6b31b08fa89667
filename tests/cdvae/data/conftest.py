"""Small crystals, and the real data sets if CDVAE_DATA is set."""

import os
from pathlib import Path

import pytest
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure


@pytest.fixture
def perovskite() -> Structure:
    """Return cubic SrTiO3."""
    sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return Structure(Lattice.cubic(3.905), ["Sr", "Ti", "O", "O", "O"], sites)


@pytest.fixture
def data_folder() -> Path:
    """Return the folder of the data sets; skip if it is not set and fail if it does not exist."""
    folder = os.environ.get("CDVAE_DATA")
    if folder is None:
        pytest.skip("CDVAE_DATA is not set")
    path = Path(folder)
    assert path.is_dir(), f"CDVAE_DATA={folder} is not a folder"
    return path
