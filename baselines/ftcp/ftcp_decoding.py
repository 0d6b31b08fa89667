"""Decode FTCP matrices to crystals."""

from __future__ import annotations

import numpy as np
import torch
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from baselines.ftcp.representation import Layout
from cdvae.geometry.lattice import from_parameters

MIN_OCCUPANCY = 0.05


def decode(matrix: np.ndarray, layout: Layout) -> Structure | None:
    """Return the crystal of a matrix; None if no site is occupied.

    The largest one-hot row gives the element of a column, and the largest occupancy the element of
    a site. A row is dropped if its largest occupancy is below 0.05. (The original keeps such a row
    as hydrogen if an occupied one follows.) Impossible angles give a cell without volume.

    Args:
        matrix: (R, C), in the units of :func:`represent`.
        layout: of the matrix.
    """
    numbers = matrix[layout.elements, : layout.max_elements].argmax(0) + 1
    occupancy = matrix[layout.occupancy, : layout.max_elements]
    occupied = occupancy.max(1) >= MIN_OCCUPANCY
    if not occupied.any():
        return None
    lengths, angles = torch.from_numpy(matrix[layout.lattice, :3]).double().unbind()
    cell = from_parameters(lengths[None], angles[None])[0]
    return Structure(
        Lattice(cell.numpy()),
        numbers[occupancy.argmax(1)][occupied].tolist(),
        matrix[layout.sites, :3][occupied],
    )
