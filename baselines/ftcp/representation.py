"""Represent crystals as FTCP matrices."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from baselines.ftcp.element_features import NUM_DESCRIPTORS, NUM_ELEMENTS, element_descriptors
from cdvae.data.process_map import parallel_map
from cdvae.geometry.crystal import CrystalBatch, element_counts
from cdvae.geometry.lattice import to_parameters

NUM_POINTS = 59
"""Number of points of the reciprocal lattice; each is a column."""
RADIUS, LARGE_RADIUS = 1.297, 1.4
"""Å⁻¹; the points lie in the first sphere, or in the second if the first has too few."""
STRIDE = 4
"""The network shortens the matrix by this factor, which must divide the number of rows."""


@dataclass(frozen=True)
class Layout:
    """The positions of the parts of a matrix.

    The first columns are the distinct elements of a crystal in the order of their first sites, the
    last 59 columns are points of the reciprocal lattice.
    """

    max_elements: int
    max_sites: int

    @property
    def columns(self) -> int:
        """The number of columns before the points, at least 3 for cells and coordinates."""
        return max(self.max_elements, 3)

    @property
    def channels(self) -> int:
        """The number of all columns."""
        return self.columns + NUM_POINTS

    @property
    def elements(self) -> slice:
        """The rows of the one-hot atomic numbers; each distinct element has a column."""
        return slice(0, NUM_ELEMENTS)

    @property
    def lattice(self) -> slice:
        """The row of a, b, c in Å and the row of α, β, γ in degrees."""
        return slice(NUM_ELEMENTS, NUM_ELEMENTS + 2)

    @property
    def sites(self) -> slice:
        """The rows of the fractional coordinates."""
        return slice(self.lattice.stop, self.lattice.stop + self.max_sites)

    @property
    def occupancy(self) -> slice:
        """The rows of the one-hot elements of the sites."""
        return slice(self.sites.stop, self.sites.stop + self.max_sites)

    @property
    def length(self) -> int:
        """The row of the points' distances from the origin, Å⁻¹."""
        return self.occupancy.stop

    @property
    def descriptors(self) -> slice:
        """The rows of the element descriptors, and of their sums over sites at the points."""
        return slice(self.length + 1, self.length + 1 + NUM_DESCRIPTORS)

    @property
    def rows(self) -> int:
        """The number of all rows, a multiple of ``STRIDE``."""
        return -(-self.descriptors.stop // STRIDE) * STRIDE

    def fits(self, crystals: CrystalBatch) -> Tensor:
        """Return a mask (B,) of the crystals whose sites and elements fit into the matrix."""
        distinct = (element_counts(crystals) > 0).sum(-1)
        return (crystals.num_atoms <= self.max_sites) & (distinct <= self.max_elements)


def represent(crystals: CrystalBatch, layout: Layout, workers: int = 1) -> Tensor:
    """Return unscaled matrices (B, C, R) float32, columns first for the convolutions.

    Raises:
        ValueError: a crystal does not fit the layout.
    """
    if not layout.fits(crystals).all():
        raise ValueError(
            f"a crystal has more than {layout.max_sites} sites or {layout.max_elements} elements"
        )
    lengths, angles = to_parameters(crystals.lattice.double())
    cells = torch.stack([lengths, angles], 1).numpy()
    matrices = crystals.lattice.double().numpy()
    items = [
        (one.frac_coords.double().numpy(), one.atomic_numbers.numpy(), cell, matrix, layout)
        for one, cell, matrix in zip(crystals.split(), cells, matrices, strict=True)
    ]
    result = torch.empty(len(items), layout.channels, layout.rows)
    for i, array in enumerate(parallel_map(_matrix, items, workers, chunk_size=256)):
        result[i] = torch.from_numpy(array).T
    return result


def _matrix(item: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Layout]) -> np.ndarray:
    """Return the matrix (R, C) of one crystal.

    As in the original, a point (hkl) has Σ_sites P · π (hkl · r) with the descriptors P of the
    site's element. That is linear in the coordinates, not a Fourier transform. If the larger sphere
    has fewer than 59 points, the last columns are zero; the original fails then.

    Args:
        item: fractional coordinates, atomic numbers, cell parameters, lattice and layout.
    """
    frac_coords, atomic_numbers, cell, lattice, layout = item
    _, first = np.unique(atomic_numbers, return_index=True)
    distinct = atomic_numbers[np.sort(first)]
    column = (atomic_numbers[:, None] == distinct).argmax(1)
    descriptors = element_descriptors()[distinct - 1].T
    sites = np.arange(len(atomic_numbers))
    points, lengths = reciprocal_points(lattice)

    matrix = np.zeros((layout.rows, layout.channels), dtype=np.float32)
    matrix[distinct - 1, np.arange(len(distinct))] = 1
    matrix[layout.lattice, :3] = cell
    matrix[layout.sites.start + sites, :3] = frac_coords
    matrix[layout.occupancy.start + sites, column] = 1
    matrix[layout.descriptors, : len(distinct)] = descriptors
    reciprocal = slice(layout.columns, layout.columns + len(points))
    matrix[layout.length, reciprocal] = lengths
    matrix[layout.descriptors, reciprocal] = descriptors[:, column] @ (
        np.pi * frac_coords @ points.T
    )
    return matrix


def reciprocal_points(lattice: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return indices (P, 3) and distances (P,), Å⁻¹, of up to 59 reciprocal-lattice points.

    The points in the sphere are ordered by |h| + |k| + |l|, then by h, k and l, larger first.

    Args:
        lattice: (3, 3) Å, rows. Reciprocal vectors are without 2π.
    """
    points, lengths = _points_within(lattice, RADIUS)
    if len(points) < NUM_POINTS:
        points, lengths = _points_within(lattice, LARGE_RADIUS)
    h, k, l = -points.T
    order = np.lexsort((l, k, h, np.abs(points).sum(1)))[:NUM_POINTS]
    return points[order], lengths[order]


def _points_within(lattice: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    # h = g · a, so |h| is at most |g| |a|.
    reach = np.floor(radius * np.linalg.norm(lattice, axis=1)).astype(int)
    axes = [np.arange(-n, n + 1) for n in reach]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    lengths = np.linalg.norm(points @ np.linalg.inv(lattice).T, axis=1)
    inside = (lengths > 0) & (lengths <= radius)
    return points[inside], lengths[inside]
