"""FIRE on the atoms and the logarithm of the cell's deformation, for one crystal.

The coordinates are those of ASE's `FrechetCellFilter`: positions in the undeformed cell, and N
times the matrix logarithm of the deformation F, with ``cell = cell₀ Fᵀ``. The steps are those of
ASE's `FIRE` with its default parameters; tests compare both step by step. ASE differentiates the
matrix exponential nine times a step, here once: the gradient of ⟨G, exp U⟩ by U is the Fréchet
derivative of exp at Uᵀ in the direction G.

Sources: Bitzek et al., Physical Review Letters 97, 170201 (2006); ASE 3.29.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import expm

from cdvae.stability.potential import Evaluation

MAX_STEP = 0.2  # Å, length of a step in all coordinates together
MAX_TIME_STEP = 1.0
MIN_STEPS_DOWNHILL = 5
TIME_STEP_GROWTH, TIME_STEP_DECAY = 1.1, 0.5
INITIAL_MIXING, MIXING_DECAY = 0.1, 0.99


class CellFire:
    """The state of one relaxation.

    Args:
        cell: (3, 3) Å, lattice vectors are rows.
        positions: (N, 3) Å.
    """

    def __init__(self, cell: np.ndarray, positions: np.ndarray) -> None:
        self._num_atoms = len(positions)
        self._undeformed = cell.copy()
        self._deformation = np.eye(3)
        self._coordinates = np.concatenate([positions, np.zeros((3, 3))])
        self._velocity = np.zeros_like(self._coordinates)
        self._started = False
        self._time_step, self._mixing, self._downhill = 0.1, INITIAL_MIXING, 0

    @property
    def cell(self) -> np.ndarray:
        """(3, 3) Å."""
        return self._undeformed @ self._deformation.T

    @property
    def positions(self) -> np.ndarray:
        """(N, 3) Å."""
        return self._coordinates[: self._num_atoms] @ self._deformation.T

    def forces(self, found: Evaluation) -> np.ndarray:
        """Return the generalized forces (N + 3, 3) in eV/Å at the present coordinates."""
        volume = abs(np.linalg.det(self.cell))
        gradient = -volume * found.stress @ np.linalg.inv(self._deformation.T)
        logarithm = self._coordinates[self._num_atoms :] / self._num_atoms
        block = np.zeros((6, 6))
        block[:3, :3] = block[3:, 3:] = logarithm.T
        block[:3, 3:] = gradient
        on_cell = expm(block)[:3, 3:] / self._num_atoms
        return np.concatenate([found.forces @ self._deformation, on_cell])

    def step(self, forces: np.ndarray) -> None:
        """Move along ``forces`` (N + 3, 3), which belong to the present coordinates.

        Raises:
            ArithmeticError: the coordinates are no longer finite.
        """
        if self._started:
            self._mix(forces)
        self._started = True
        self._velocity += self._time_step * forces
        change = self._time_step * self._velocity
        length = np.sqrt(np.vdot(change, change))
        if length > MAX_STEP:
            change = MAX_STEP * change / length
        self._coordinates = self._coordinates + change
        if not np.isfinite(self._coordinates).all():
            raise ArithmeticError("the coordinates are no longer finite")
        self._apply()

    def _apply(self) -> None:
        self._deformation = expm(self._coordinates[self._num_atoms :] / self._num_atoms)

    def _mix(self, forces: np.ndarray) -> None:
        """Turn the velocity towards the forces, or stop where it leads uphill."""
        if np.vdot(forces, self._velocity) > 0:
            speed = np.sqrt(np.vdot(self._velocity, self._velocity) / np.vdot(forces, forces))
            self._velocity = (1 - self._mixing) * self._velocity + self._mixing * speed * forces
            if self._downhill > MIN_STEPS_DOWNHILL:
                self._time_step = min(self._time_step * TIME_STEP_GROWTH, MAX_TIME_STEP)
                self._mixing *= MIXING_DECAY
            self._downhill += 1
        else:
            self._velocity = np.zeros_like(self._velocity)
            self._mixing = INITIAL_MIXING
            self._time_step *= TIME_STEP_DECAY
            self._downhill = 0
