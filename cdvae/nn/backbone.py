"""The equivariant message-passing network that encoder and decoder are both built from.

Polarisable atom interaction layers (PaiNN; Schütt, Unke, Gastegger 2021): every atom carries
scalars and vectors, messages mix them along the edges of the periodic multigraph. All lengths are
measured in units of the crystal's own spacing (V/N)^(1/3), so a crystal has about the same number
of neighbors at any density and the graph does not depend on the choice of cell.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cdvae.geometry.crystal import CrystalBatch
from cdvae.geometry.neighbors import NeighborSearch
from cdvae.linear import Linear, linear


@dataclass(frozen=True)
class BackboneConfig:
    """Sizes of one network; ``cutoff`` is in units of (V/N)^(1/3)."""

    layers: int
    scalars: int = 128
    vectors: int = 32
    radial: int = 16
    cutoff: float = 1.85


@dataclass(frozen=True)
class Geometry:
    """What the layers see of the crystals: rotation-invariant numbers and equivariant vectors.

    All images of an atom carry the same features, and messages are linear in the radial basis, so
    the images are summed here, once, and the layers work on pairs of atoms: N² of them instead of
    27 edges an atom, in rows padded to the largest crystal of the batch.
    """

    radial: Tensor  # (B, N, N, R) radial basis of target and source, summed over images
    vector: Tensor  # (B, N, N, 3, R) the same times the unit vectors from target to source
    place: Tensor  # (A,) row of each atom among the B·N

    def spread(self, atoms: Tensor) -> Tensor:
        """(B, N, …) rows of ``atoms`` (A, …) in their places, zero where there is no atom."""
        b, n = self.radial.shape[:2]
        if len(atoms) == b * n:
            return atoms.view(b, n, *atoms.shape[1:])
        padded = atoms.new_zeros(b * n, *atoms.shape[1:])
        return padded.index_copy(0, self.place, atoms).view(b, n, *atoms.shape[1:])

    def gather(self, padded: Tensor) -> Tensor:
        """(A, …) the rows of ``padded`` (B, N, …) that are atoms."""
        rows = padded.flatten(0, 1)
        return rows if len(rows) == len(self.place) else rows.index_select(0, self.place)


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """One hidden layer with SiLU."""
    return nn.Sequential(Linear(inputs, hidden), nn.SiLU(), Linear(hidden, outputs))


def radial_basis(distance: Tensor, size: int) -> Tensor:
    """(R, E) Bessel functions of ``distance`` in [0, 1] under a smooth envelope (Gasteiger 2020).

    The envelope is 1 at 0 and has zero value, slope and curvature at 1, so an atom that crosses
    the cutoff changes nothing abruptly. Its high power keeps second neighbors and the nearest
    images of an atom itself, which tell where the lattice points, at a weight that can be learned
    from.

    sin kx for k = 1 … R by doubling: the sines of k + m from those of k and of m = 1, 2, 4 …
    """
    x = distance.clamp(min=1e-6)
    x4 = x.square().square()
    envelope = (1 - x4.square() * (45 - 80 * x + 36 * x.square())) * math.sqrt(2 / size) / math.pi
    sine, cosine = (math.pi * x).sin(), (math.pi * x).cos()
    sines = (sine * envelope / x)[None]
    cosines = (cosine * envelope / x)[None]
    while len(sines) < size:
        grown = sines * cosine + cosines * sine
        if 2 * len(sines) < size:
            cosines = torch.cat([cosines, cosines * cosine - sines * sine])
            sine, cosine = 2 * sine * cosine, 1 - 2 * sine.square()
        sines = torch.cat([sines, grown])
    return sines[:size]


def neighbor_search(crystals: CrystalBatch, config: BackboneConfig) -> NeighborSearch:
    """The search that :func:`geometry` makes, for crystals whose atoms will move."""
    return NeighborSearch(crystals, config.cutoff * crystals.length_scale)


def geometry(search: NeighborSearch, frac_coords: Tensor, radial: int) -> Geometry:
    """All neighbors within the cutoff, image by image, summed for each pair of atoms.

    Args:
        search: of the crystals.
        frac_coords: (A, 3) where their atoms are.
        radial: the number R of radial functions.
    """
    found = search.pairs(frac_coords)
    b, n = search.crystals, search.largest
    relative = found.length / search.cutoff[search.crystal].index_select(0, found.image)
    basis = radial_basis(relative, radial)
    unit = found.vector / found.length.clamp(min=1e-6)
    terms = basis.T.contiguous()
    along = unit.T[:, :, None] * terms[:, None]
    return Geometry(
        _sum(terms, found.pair, b * n * n).view(b, n, n, radial),
        _sum(along.flatten(1), found.pair, b * n * n).view(b, n, n, 3, radial),
        search.place,
    )


def _sum(terms: Tensor, pair: Tensor, pairs: int) -> Tensor:
    return terms.new_zeros(pairs, terms.shape[1]).index_add_(0, pair, terms)


def neighbor_density(graph: Geometry) -> Tensor:
    """(A, R) radial basis summed over the neighbors of each atom: what its site looks like."""
    return graph.gather(graph.radial.sum(2))


class Interaction(nn.Module):
    """Messages between all pairs of atoms of a crystal, then a gated update of every atom.

    Args of ``forward``: scalars (B, N, S), vectors (B, N, 3, V), the geometry's ``radial`` and
    ``vector``. Returns scalars and vectors, updated.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        s, v = config.scalars, config.vectors
        self.sizes = (s, v, v)
        self.norm = nn.LayerNorm(s)
        self.source = mlp(s, s, s + 2 * v)
        self.filter = Linear(config.radial, s + 2 * v, bias=False)
        self.mix = Linear(v, 2 * v, bias=False)
        self.project = Linear(v, s, bias=False)
        self.update_norm = nn.LayerNorm(s)
        self.update_mlp = mlp(s + v, s, s + 2 * v)
        # About the expected number of neighbors: keeps sums over edges O(1).
        self.scale = (4.19 * config.cutoff**3) ** -0.5

    def forward(
        self, s: Tensor, v: Tensor, radial: Tensor, vector: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Returns scalars (B, N, S) and vectors (B, N, 3, V)."""
        own, along, carried = self.source(self.norm(s)).split(self.sizes, -1)
        by_scalar, by_vector, by_carried = self.filter.weight.split(self.sizes, 0)
        # Axes: crystal, target, source, (Cartesian,) channel; summed over the source.
        ds = (linear(radial, by_scalar) * own[:, None]).sum(2)
        dv = (linear(vector, by_vector) * along[:, None, :, None]).sum(2)
        moved = carried[:, :, None] * v
        dv = dv + (linear(radial, by_carried)[:, :, :, None] * moved[:, None]).sum(2)
        s = s + ds * self.scale
        v = v + dv * self.scale

        left, right = self.mix(v).chunk(2, -1)
        norm = (left.square().sum(2) + 1e-8).sqrt()
        ds, gate, inner = self.update_mlp(torch.cat([self.update_norm(s), norm], -1)).split(
            self.sizes, -1
        )
        s = s + ds + self.project(inner * (left * right).sum(2))
        v = v + gate[:, :, None] * right
        return s, v


class Backbone(nn.Module):
    """A stack of interactions; ``context`` (B, layers, S) is added to the scalars before each."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(Interaction(config) for _ in range(config.layers))

    def forward(
        self,
        scalars: Tensor,
        graph: Geometry,
        context: Tensor | None = None,
        vectors: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Returns invariant scalars (A, S) and equivariant vectors (A, 3, V).

        They begin as ``scalars`` (A, S) and ``vectors`` (A, 3, V), zero if None.
        """
        if vectors is None:
            vectors = scalars.new_zeros(len(scalars), 3, self.config.vectors)
        padded = graph.spread(scalars), graph.spread(vectors)
        s, v = self.interact(*padded, graph.radial, graph.vector, context)
        return graph.gather(s), graph.gather(v)

    def interact(
        self, s: Tensor, v: Tensor, radial: Tensor, vector: Tensor, context: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """All layers on padded rows; this is the part that is worth compiling."""
        for i, layer in enumerate(self.layers):
            if context is not None:
                s = s + context[:, None, i]
            s, v = layer(s, v, radial, vector)
        return s, v
