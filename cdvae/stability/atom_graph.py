"""Neighbor graphs of many structures in one batch, for potentials that are functions of vectors.

Each pair of neighbors is stored once, with the vector from its first atom to its second. The
neighbors of a structure and their order depend on that structure only, so sums over them round
alike in every batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from cdvae.geometry.crystal import CrystalBatch
from cdvae.geometry.lattice import images_within
from cdvae.geometry.neighbors import NeighborSearch
from cdvae.stability.potential import MIN_DISTANCE, Evaluation

if TYPE_CHECKING:
    from ase import Atoms

MAX_CANDIDATES = 20_000_000
"""Pairs that the search of one structure may look at: 860 atoms in an ordinary cell."""


class GraphError(ValueError):
    """The structure has no usable graph; the text says why."""


@dataclass(frozen=True)
class StructureGraph:
    """P pairs of neighbors of one structure with N atoms."""

    atomic_numbers: Tensor  # (N,) int64
    volume: float  # Å³
    first: Tensor  # (P,) int64
    second: Tensor  # (P,) int64
    vector: Tensor  # (P, 3) Å, double, from the first atom to an image of the second


@dataclass(frozen=True)
class AtomGraph:
    """P pairs of neighbors of S structures with A atoms in all."""

    atomic_numbers: Tensor  # (A,) int64
    structure: Tensor  # (A,) int64, the structure of each atom
    num_atoms: Tensor  # (S,) int64
    volume: Tensor  # (S,) Å³, double
    first: Tensor  # (P,) int64
    second: Tensor  # (P,) int64
    vector: Tensor  # (P, 3) Å, double

    @staticmethod
    def cat(graphs: Sequence[StructureGraph]) -> AtomGraph:
        """Return the graphs of several structures as one."""
        num_atoms = torch.tensor([len(one.atomic_numbers) for one in graphs])
        num_pairs = torch.tensor([len(one.first) for one in graphs])
        offset = (num_atoms.cumsum(0) - num_atoms).repeat_interleave(num_pairs)
        return AtomGraph(
            torch.cat([one.atomic_numbers for one in graphs]),
            torch.arange(len(graphs)).repeat_interleave(num_atoms),
            num_atoms,
            torch.tensor([one.volume for one in graphs], dtype=torch.double),
            torch.cat([one.first for one in graphs]) + offset,
            torch.cat([one.second for one in graphs]) + offset,
            torch.cat([one.vector for one in graphs]),
        )

    def to(self, device: torch.device) -> AtomGraph:
        """Return the graph on ``device``."""
        fields = {name: value.to(device) for name, value in vars(self).items()}
        return AtomGraph(**fields)

    def evaluations(self, energy: Tensor, gradient: Tensor) -> list[Evaluation]:
        """Return the evaluation of each structure.

        Args:
            energy: (S,) eV.
            gradient: (P, 3) eV/Å, of the energies by `vector`. The forces and the virial follow
                from it, because the energies depend on nothing else.
        """
        gradient = gradient.double()
        forces = torch.zeros(len(self.atomic_numbers), 3, dtype=torch.double)
        forces = forces.index_add(0, self.first, gradient).index_add(0, self.second, -gradient)
        virial = torch.zeros(len(self.num_atoms), 3, 3, dtype=torch.double)
        outer = self.vector[:, :, None] * gradient[:, None, :]
        virial = virial.index_add(0, self.structure[self.first], outer)
        stress = (virial + virial.mT) / 2 / self.volume[:, None, None]
        each = forces.split(self.num_atoms.tolist())
        return [
            Evaluation(float(e), f.numpy(), s.numpy())
            for e, f, s in zip(energy.tolist(), each, stress, strict=True)
        ]


def structure_graph(atoms: Atoms, cutoff: float) -> StructureGraph:
    """Return the pairs of neighbors in ``atoms`` that are nearer than ``cutoff`` Å.

    Raises:
        GraphError: an atom has no neighbor, two atoms overlap, or the structure is
            too large to search.
    """
    cell, positions = atoms.cell.array, atoms.positions
    frac_coords = positions @ np.linalg.inv(cell)
    crystal = CrystalBatch(
        torch.from_numpy(frac_coords - np.floor(frac_coords)),
        torch.from_numpy(atoms.numbers.astype(np.int64)),
        torch.from_numpy(cell.copy())[None],
        torch.tensor([len(atoms)]),
    )
    radius = torch.tensor([cutoff], dtype=torch.double)
    images = int((2 * images_within(crystal.lattice, radius) + 1).prod())
    if images * len(atoms) ** 2 > MAX_CANDIDATES:
        raise GraphError(f"{len(atoms)} atoms and {images} periodic images are too many")
    search = NeighborSearch(crystal, radius)
    found = search.pairs(crystal.frac_coords)
    n, last = len(atoms), len(search.offset) - 1
    target, source = found.pair // n, found.pair % n
    # The images of the search are symmetric about the cell itself: the reverse of a pair is at the
    # mirrored image with its atoms exchanged. The half with the smaller places is kept.
    place = found.image * n * n + found.pair
    reverse = (last - found.image) * n * n + source * n + target
    kept = place < reverse
    first, second = target[kept], source[kept]
    lonely = torch.bincount(torch.cat([first, second]), minlength=n) == 0
    if lonely.any():
        atom = int(lonely.nonzero()[0])
        raise GraphError(f"atom {atom} has no neighbor within {cutoff:g} Å")
    length = found.length[kept]
    if float(length.min()) < MIN_DISTANCE:
        raise GraphError(f"two atoms are {float(length.min()):.2g} Å apart")
    return StructureGraph(
        crystal.atomic_numbers,
        abs(float(np.linalg.det(cell))),
        first,
        second,
        found.vector.T[kept].contiguous(),
    )
