"""Small crystals, and the real data sets where CDVAE_DATA points to them."""

import os
from pathlib import Path

import pytest
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure


@pytest.fixture
def perovskite() -> Structure:
    """Cubic SrTiO3."""
    sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return Structure(Lattice.cubic(3.905), ["Sr", "Ti", "O", "O", "O"], sites)


@pytest.fixture
def data_folder() -> Path:
    """The folder of the data sets; skips without the variable, fails where it points nowhere."""
    folder = os.environ.get("CDVAE_DATA")
    if folder is None:
        pytest.skip("CDVAE_DATA is not set")
    path = Path(folder)
    assert path.is_dir(), f"CDVAE_DATA={folder} is not a folder"
    return path
