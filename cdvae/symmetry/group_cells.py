"""The cells that are compatible with a space group."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np

from cdvae.errors import InfeasibleError
from cdvae.symmetry.operations import Operations, conventional, primitive
from cdvae.symmetry.site_assignment import has_sites
from cdvae.symmetry.site_solver import MAX_STRAIN, Stoichiometry, cell_setting
from cdvae.symmetry.wyckoff import Position, positions

_UPPER = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))  # the order of `to_log_metric`

STRAIN_RANGE = 0.3
"""Strain above the least up to which a choice of axes is considered."""


@dataclass(frozen=True)
class Group:
    """A space group in its primitive or its conventional cell."""

    number: int
    ops: Operations
    positions: tuple[Position, ...]

    @staticmethod
    def of(number: int, lattice: np.ndarray | None = None) -> Group:
        """Return space group ``number`` in the setting of ``lattice`` (3, 3) Å; None: primitive.

        Raises:
            InfeasibleError: ``lattice`` is not a cell of the group.
        """
        if lattice is None:
            return _group(number, True)
        setting = cell_setting(number, lattice.tolist())
        if setting is None:
            raise InfeasibleError(
                f"lattice: neither a conventional nor a primitive cell of space group {number}"
            )
        return _group(number, setting == "primitive")

    def has_sites(self, shares: Stoichiometry) -> bool:
        """Return True if elements with these numbers of atoms fill sites of the cell."""
        return has_sites(self.positions, shares)

    def fit(
        self, lattice: np.ndarray, log_metric: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the cell of the group that is nearest to ``lattice`` (3, 3) Å.

        It belongs to the choice of axes with the least strain and has the same volume. Several
        choices often strain the cell alike: an orthorhombic cell can have its axes in any order.
        ``log_metric`` (6,) is then the cell to expect in the axes of the group, as `to_log_metric`
        gives it; its volume does not count.

        Returns:
            metric: (3, 3) Å², scalar products of the cell vectors.
            basis: (3, 3) int64, from the coordinates of ``ops`` to those in this cell.
        """
        _, basis, metric = self._best(lattice, log_metric)
        back = np.linalg.inv(basis)
        metric = back.T @ metric @ back
        before = np.linalg.det(lattice) ** 2
        return metric * (before / np.linalg.det(metric)) ** (1 / 3), basis

    def choices(self, lattice: np.ndarray) -> np.ndarray:
        """Return all choices of axes (C, 3, 3) in which ``lattice`` is a cell of the group."""
        amount, _ = self._strains(lattice)
        return _bases()[amount < MAX_STRAIN]

    def _best(
        self, lattice: np.ndarray, log_metric: np.ndarray | None
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """Return strain, basis and symmetric metric of the best choice of axes."""
        amount, symmetric = self._strains(lattice)
        cost = amount
        if log_metric is not None:
            near = np.flatnonzero(amount < amount.min() + STRAIN_RANGE)
            away = _shape(symmetric[near]) - _matrix(log_metric)
            cost = np.full(len(amount), np.inf)
            cost[near] = amount[near] ** 2 + np.square(away).sum((1, 2))
        best = int((cost > cost.min() + 1e-9).argmin())
        return float(amount[best]), _bases()[best], symmetric[best]

    def _strains(self, lattice: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the strain (U,) and the symmetric metric (U, 3, 3) of each choice of axes."""
        bases = _bases()
        metric = np.einsum("uji,jk,ukl->uil", bases, lattice @ lattice.T, bases)
        mean = np.einsum("gji,gkl->iljk", self.ops.rotation, self.ops.rotation) / len(self.ops)
        symmetric = np.einsum("iljk,ujk->uil", mean, metric)
        strain = np.linalg.solve(metric, symmetric) - np.eye(3)
        return np.sqrt(np.einsum("uij,uji->u", strain, strain).clip(min=0)), symmetric


@cache
def _group(number: int, is_primitive: bool) -> Group:
    ops = primitive(number) if is_primitive else conventional(number)
    return Group(number, ops, tuple(positions(ops)))


@lru_cache
def _bases() -> np.ndarray:
    """Return the changes of axes (U, 3, 3) within ±1 and of determinant 1, identity first."""
    rows = np.array(list(itertools.product((-1, 0, 1), repeat=3)))
    every = np.stack([rows[list(chosen)] for chosen in itertools.permutations(range(len(rows)), 3)])
    proper = every[np.rint(np.linalg.det(every)).astype(int) == 1]
    order = np.abs(proper - np.eye(3, dtype=int)).sum((1, 2)).argsort(kind="stable")
    return proper[order]


def _shape(metric: np.ndarray) -> np.ndarray:
    """Return ½ log of the metrics (U, 3, 3) at determinant 1."""
    values, vectors = np.linalg.eigh(metric)
    log = 0.5 * np.log(values)
    log -= log.mean(1, keepdims=True)
    return np.einsum("uij,uj,ukj->uik", vectors, log, vectors)


def _matrix(log_metric: np.ndarray) -> np.ndarray:
    """Return the symmetric matrix (3, 3) of six numbers, without its trace."""
    matrix = np.zeros((3, 3))
    matrix[_UPPER] = log_metric
    matrix.T[_UPPER] = log_metric
    return matrix - np.eye(3) * np.trace(matrix) / 3
