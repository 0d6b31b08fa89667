"""The space group of a crystal, kept while it relaxes.

The forces and the stress are averaged over the operations, so no step leaves the group. The
crystal itself is averaged first: a group found with a tolerance then holds exactly.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import spglib

from cdvae.stability.potential import Evaluation


class KeptSymmetry:
    """The operations of a crystal's space group.

    Args:
        cell: (3, 3) Å, lattice vectors are rows.
        frac_coords: (N, 3).
        numbers: (N,) atomic numbers.
        symprec: Å, tolerance of the search.

    Raises:
        ValueError: spglib finds no group.
    """

    def __init__(
        self, cell: np.ndarray, frac_coords: np.ndarray, numbers: np.ndarray, symprec: float
    ) -> None:
        crystal: Any = (cell, frac_coords, numbers)  # spglib declares nested sequences
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # a change of spglib's errors
            try:
                found = spglib.get_symmetry_dataset(crystal, symprec)
            except spglib.SpglibError:
                found = None
        if found is None:
            raise ValueError(f"no space group found with symprec {symprec:g} Å")
        self.group = int(found.number)
        self._rotations = found.rotations.astype(float)  # (K, 3, 3)
        moved = np.einsum("kij,nj->kni", self._rotations, frac_coords)
        moved += found.translations[:, None]
        # (K, N): the atom onto which each operation maps each atom.
        self._image = np.stack([_nearest(each, frac_coords, cell, numbers) for each in moved])
        self._translations = found.translations

    def symmetrized(
        self, cell: np.ndarray, frac_coords: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the averages of the cell (3, 3) and the fractional coordinates (N, 3)."""
        metric = cell @ cell.T
        metric = np.einsum("kji,jl,klm->im", self._rotations, metric, self._rotations)
        lower = np.linalg.cholesky(metric / len(self._rotations))
        left, _, right = np.linalg.svd(np.linalg.solve(lower, cell))
        total = np.zeros_like(frac_coords)
        for rotation, translation, image in zip(
            self._rotations, self._translations, self._image, strict=True
        ):
            away = frac_coords @ rotation.T + translation - frac_coords[image]
            total[image] += away - np.round(away)
        return lower @ left @ right, frac_coords + total / len(self._rotations)

    def project(self, found: Evaluation, cell: np.ndarray) -> Evaluation:
        """Return ``found`` with forces and stress averaged over the operations.

        Args:
            found: what a potential says of the crystal.
            cell: (3, 3) Å, the present cell.
        """
        inverse = np.linalg.inv(cell)
        forces = np.zeros_like(found.forces)
        turned = np.einsum("ni,kji->knj", found.forces @ inverse, self._rotations)
        for each, image in zip(turned, self._image, strict=True):
            forces[image] += each
        rotations = inverse @ self._rotations.transpose(0, 2, 1) @ cell
        stress = np.einsum("kji,jl,klm->im", rotations, found.stress, rotations)
        number = len(self._rotations)
        return Evaluation(found.energy, forces @ cell / number, stress / number)


def _nearest(
    moved: np.ndarray, frac_coords: np.ndarray, cell: np.ndarray, numbers: np.ndarray
) -> np.ndarray:
    away = moved[:, None] - frac_coords[None]
    away -= np.round(away)
    distance = np.linalg.norm(away @ cell, axis=-1)
    distance[numbers[:, None] != numbers[None]] = np.inf
    image = distance.argmin(1)
    if len(set(image.tolist())) != len(image):
        raise ValueError("an operation of the space group does not map the atoms one to one")
    return image
