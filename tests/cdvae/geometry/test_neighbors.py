from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cdvae.data.structures import to_structures
from cdvae.geometry.crystal import CrystalBatch
from cdvae.geometry.lattice import from_parameters
from cdvae.geometry.neighbors import NeighborSearch
from tests.cdvae.conftest import random_crystals


@dataclass(frozen=True)
class Edges:
    """Directed edges source → target; each comes with its reverse."""

    source: Tensor  # (E,) int64
    target: Tensor  # (E,) int64
    image: Tensor  # (E, 3) int64, cell of the source relative to the target's
    vector: Tensor  # (E, 3) Å, from target to source: (frac_s + image - frac_t) @ lattice
    length: Tensor  # (E,) Å


def periodic_edges(crystals: CrystalBatch, cutoff: Tensor) -> Edges:
    """Return all edges of B crystals that are shorter than ``cutoff`` (B,) Å."""
    search = NeighborSearch(crystals, cutoff)
    pairs, n = search.pairs(crystals.frac_coords), search.largest
    crystal = search.crystal[pairs.image]
    target, source = pairs.pair // n % n, pairs.pair % n
    image = search.offset[pairs.image] - pairs.nearest[pairs.pair].long()
    first = search.first[crystal]
    return Edges(first + source, first + target, image, pairs.vector.T, pairs.length)


def test_edges_agree_with_pymatgen_in_any_cell() -> None:
    crystals = random_crystals(12, seed=7)
    cutoff = torch.full((12,), 4.5)
    edges = periodic_edges(crystals, cutoff)
    first = 0
    for crystal in to_structures(crystals):
        centre, other, image, distance = crystal.get_neighbor_list(4.5)
        mine = (edges.target >= first) & (edges.target < first + len(crystal))
        ours = torch.cat(
            [(edges.target - first)[:, None], (edges.source - first)[:, None], edges.image], 1
        )[mine]
        theirs = np.column_stack([centre, other, image])
        order = np.lexsort(theirs.T[::-1])
        ours_order = np.lexsort(ours.numpy().T[::-1])
        np.testing.assert_array_equal(ours.numpy()[ours_order], theirs[order])
        np.testing.assert_allclose(
            edges.length[mine].numpy()[ours_order], distance[order], atol=1e-4
        )
        first += len(crystal)


def test_every_edge_has_its_reverse() -> None:
    edges = periodic_edges(random_crystals(10, seed=8), torch.full((10,), 5.0))
    forward = torch.cat([edges.source[:, None], edges.target[:, None], edges.image], 1)
    backward = torch.cat([edges.target[:, None], edges.source[:, None], -edges.image], 1)
    assert sorted(forward.tolist()) == sorted(backward.tolist())


def test_vector_is_the_difference_to_that_image() -> None:
    crystals = random_crystals(10, seed=9)
    edges = periodic_edges(crystals, torch.full((10,), 5.0))
    frac_coords = (
        crystals.frac_coords[edges.source] + edges.image - crystals.frac_coords[edges.target]
    )
    lattice = crystals.lattice[crystals.batch[edges.target]]
    torch.testing.assert_close(
        edges.vector, torch.einsum("ei,eij->ej", frac_coords, lattice), atol=1e-4, rtol=0
    )


def test_fcc_shells_are_complete() -> None:
    primitive = from_parameters(torch.full((1, 3), 2.5526), torch.full((1, 3), 60.0))
    copper = CrystalBatch(torch.zeros(1, 3), torch.tensor([29]), primitive, torch.tensor([1]))
    edges = periodic_edges(copper, torch.tensor([7.0]))
    assert len(edges.length) == 134  # 27 images would give only 26
    shells = torch.unique((edges.length * 100).round(), return_counts=True)[1]
    assert shells[:3].tolist() == [12, 6, 24]


def test_a_crystal_without_neighbors_does_not_disturb_the_others() -> None:
    alone = CrystalBatch(
        torch.zeros(1, 3), torch.tensor([2]), 50 * torch.eye(3)[None], torch.tensor([1])
    )
    others = random_crystals(3, seed=10)
    both = CrystalBatch.cat([others, alone])
    edges = periodic_edges(both, torch.full((4,), 4.0))
    assert (edges.target < len(others.frac_coords)).all()
    assert len(edges.length) == len(periodic_edges(others, torch.full((3,), 4.0)).length)
    assert len(periodic_edges(alone, torch.tensor([4.0])).length) == 0


def test_coincident_atoms_are_neighbors() -> None:
    twins = CrystalBatch(
        torch.full((2, 3), 0.25), torch.tensor([1, 2]), 6 * torch.eye(3)[None], torch.tensor([2])
    )
    assert periodic_edges(twins, torch.tensor([3.0])).length.tolist() == [0.0, 0.0]
