"""Random placements of atoms on Wyckoff positions, and the steps that keep the symmetry."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cdvae.symmetry.group_cells import Group
from cdvae.symmetry.operations import GRID, Operations
from cdvae.symmetry.site_assignment import draw_sites

TRIES = 16
APART = 0.6
"""Sufficient distance between the atoms of a placement, in units of (V/N)^(1/3).

An atom without freedom never leaves its site, so two atoms must not start on the same site.
"""
_IMAGES = np.array(list(itertools.product((-1, 0, 1), repeat=3)))


@dataclass(frozen=True)
class Placement:
    """A crystal on Wyckoff positions; the atoms of an orbit follow each other."""

    frac_coords: np.ndarray  # (N, 3)
    element: np.ndarray  # (N,) int64, index of the element in the plan
    orbit: np.ndarray  # (N,) int64, ascending
    projector: np.ndarray  # (3N, 3N) projects fractional steps onto symmetric ones


@dataclass(frozen=True)
class WyckoffPlan:
    """The space group, the cell and the composition of a symmetric crystal, without its sites."""

    group: Group
    basis: np.ndarray  # (3, 3) from the coordinates of the group to those in the cell
    stoichiometry: tuple[int, ...]  # atoms of each element
    lattice: np.ndarray  # (3, 3) Å, rows
    sites: tuple[tuple[int, int], ...] | None = None
    """(element, position) of each orbit; None to draw positions at random."""

    @cached_property
    def ops(self) -> Operations:
        """The operations in the coordinates of the cell."""
        return self.group.ops.changed(self.basis)

    def draw_placement(self, rng: np.random.Generator) -> Placement:
        """Return a random placement; several tries avoid atoms that are too close."""
        length_scale = (abs(np.linalg.det(self.lattice)) / sum(self.stoichiometry)) ** (1 / 3)
        best, widest = None, -1.0
        for _ in range(TRIES):
            sites = self.sites or self._random_sites(rng)
            frac_coords = np.concatenate([self._orbit(number, rng) for _, number in sites])
            apart = _closest(frac_coords, self.lattice) / length_scale
            if apart > widest:
                best, widest = (sites, frac_coords), apart
            if apart >= APART:
                break
        assert best is not None
        sites, frac_coords = best
        sizes = [self.group.positions[number].multiplicity for _, number in sites]
        return Placement(
            frac_coords,
            np.repeat([element for element, _ in sites], sizes),
            np.repeat(np.arange(len(sites)), sizes),
            self._projector([number for _, number in sites]),
        )

    def _random_sites(self, rng: np.random.Generator) -> tuple[tuple[int, int], ...]:
        taken = draw_sites(self.group.positions, self.stoichiometry, rng)
        return tuple(
            (element, number) for element, numbers in enumerate(taken) for number in numbers
        )

    def _orbit(self, number: int, rng: np.random.Generator) -> np.ndarray:
        """Return the images (M, 3), in the cell, of a random site of a Wyckoff position."""
        position, ops = self.group.positions[number], self.group.ops
        # This covers an integer number of periods along every direction of freedom.
        site = position.base / GRID + position.freedom @ (position.stabilizer * rng.random(3))
        first = position.first
        images = ops.rotation[first] @ site + ops.translation[first] / GRID
        return images @ self.basis.T % 1.0

    def _projector(self, numbers: list[int]) -> np.ndarray:
        """Return the projector (3N, 3N): the mean over the group of the transformed steps."""
        rotation = self.ops.rotation
        back = np.rint(np.linalg.inv(rotation))
        total = 3 * sum(self.stoichiometry)
        projector = np.zeros((total, total))
        start = 0
        for number in numbers:
            images = self.group.positions[number].images  # (G, M)
            size = images.shape[1]
            block = np.zeros((size, 3, size, 3))
            for atom in range(size):
                np.add.at(block[atom].transpose(1, 0, 2), images[:, atom], back)
            end = start + 3 * size
            projector[start:end, start:end] = block.reshape(3 * size, 3 * size) / len(rotation)
            start = end
        return projector


def _closest(frac_coords: np.ndarray, lattice: np.ndarray) -> float:
    """Return the shortest distance between two atoms, Å, images included, in a reduced cell."""
    away = frac_coords[:, None] - frac_coords
    away -= np.rint(away)
    distance = np.linalg.norm((away[:, :, None] + _IMAGES) @ lattice, axis=-1)
    distance[np.arange(len(frac_coords)), np.arange(len(frac_coords)), len(_IMAGES) // 2] = np.inf
    return float(distance.min())
