"""The equivariant message-passing network of encoder, decoder and property model.

It has polarisable atom interaction layers (PaiNN; Schütt, Unke, Gastegger 2021): every atom carries
scalars and vectors, and messages mix them along the edges of the periodic multigraph. The unit of
length is (V/N)^(1/3) of each crystal, so an atom has about the same number of neighbors at any
density, and the graph does not depend on the choice of cell.
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
    """The input of the layers: invariant numbers and equivariant vectors of each pair of atoms.

    All images of an atom carry the same features, and messages are linear in the radial basis. So
    the images are summed once, and the layers work on N² pairs of atoms instead of about 27 edges
    per atom, in rows padded to the largest crystal of the batch.
    """

    radial: Tensor  # (B, N, N, R) radial basis of target and source, summed over images
    vector: Tensor  # (B, N, N, 3, R) radial basis times unit vector, target to source
    place: Tensor  # (A,) row of each atom among the B·N rows

    def spread(self, atoms: Tensor) -> Tensor:
        """Return ``atoms`` (A, …) padded to (B, N, …) with zeros."""
        b, n = self.radial.shape[:2]
        if len(atoms) == b * n:
            return atoms.view(b, n, *atoms.shape[1:])
        padded = atoms.new_zeros(b * n, *atoms.shape[1:])
        return padded.index_copy(0, self.place, atoms).view(b, n, *atoms.shape[1:])

    def gather(self, padded: Tensor) -> Tensor:
        """Return the rows (A, …) of ``padded`` (B, N, …) that are atoms."""
        rows = padded.flatten(0, 1)
        return rows if len(rows) == len(self.place) else rows.index_select(0, self.place)


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Return a network with one hidden layer and SiLU."""
    return nn.Sequential(Linear(inputs, hidden), nn.SiLU(), Linear(hidden, outputs))


def last_linear(network: nn.Sequential) -> nn.Linear:
    """Return the output layer of a network from :func:`mlp`."""
    layer = network[-1]
    assert isinstance(layer, nn.Linear)
    return layer


def radial_basis(distance: Tensor, size: int) -> Tensor:
    """Return Bessel functions (R, E) of ``distance`` (E,) in [0, 1] times a smooth envelope.

    The envelope (Gasteiger 2020) is 1 at 0; its value, slope and curvature vanish at 1, so the
    network is smooth when an atom crosses the cutoff. Its high power gives a noticeable weight to
    second neighbors and to the nearest images of an atom itself, which show the directions of the
    lattice.

    The sines of kx for k = 1 … R follow by doubling: those of k + m from k and m = 1, 2, 4 …
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
    """Return the search for :func:`geometry`; it stays valid while the atoms move."""
    return NeighborSearch(crystals, config.cutoff * crystals.length_scale)


def geometry(search: NeighborSearch, frac_coords: Tensor, radial: int) -> Geometry:
    """Return the geometry: the neighbors within the cutoff, summed for each pair of atoms.

    Args:
        search: the search in the cells of the crystals.
        frac_coords: (A, 3) positions of their atoms.
        radial: the number R of radial functions.
    """
    edges = search.pairs(frac_coords)
    b, n = search.crystals, search.largest
    relative = edges.length / search.cutoff[search.crystal].index_select(0, edges.image)
    basis = radial_basis(relative, radial)
    unit = edges.vector / edges.length.clamp(min=1e-6)
    terms = basis.T.contiguous()
    along = unit.T[:, :, None] * terms[:, None]
    return Geometry(
        _sum(terms, edges.pair, b * n * n).view(b, n, n, radial),
        _sum(along.flatten(1), edges.pair, b * n * n).view(b, n, n, 3, radial),
        search.place,
    )


def _sum(terms: Tensor, pair: Tensor, pairs: int) -> Tensor:
    return terms.new_zeros(pairs, terms.shape[1]).index_add_(0, pair, terms)


def neighbor_density(graph: Geometry) -> Tensor:
    """Return the radial basis (A, R), summed over the neighbors of each atom."""
    return graph.gather(graph.radial.sum(2))


class Interaction(nn.Module):
    """Messages between all pairs of atoms of a crystal, then a gated update of every atom."""

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
        # One over the square root of the expected number of neighbors keeps sums over edges O(1).
        self.scale = (4.19 * config.cutoff**3) ** -0.5

    def forward(
        self, s: Tensor, v: Tensor, radial: Tensor, vector: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the updated scalars ``s`` (B, N, S) and vectors ``v`` (B, N, 3, V).

        ``radial`` and ``vector`` are those of the :class:`Geometry`.
        """
        scalar, along, carried = self.source(self.norm(s)).split(self.sizes, -1)
        by_scalar, by_vector, by_carried = self.filter.weight.split(self.sizes, 0)
        # Axes: crystal, target, source, (Cartesian,) channel; summed over the source.
        ds = (linear(radial, by_scalar) * scalar[:, None]).sum(2)
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
        """Return invariant scalars (A, S) and equivariant vectors (A, 3, V).

        Their initial values are ``scalars`` (A, S) and ``vectors`` (A, 3, V); None: zero.
        """
        if vectors is None:
            vectors = scalars.new_zeros(len(scalars), 3, self.config.vectors)
        padded = graph.spread(scalars), graph.spread(vectors)
        s, v = self.interact(*padded, graph.radial, graph.vector, context)
        return graph.gather(s), graph.gather(v)

    def interact(
        self, s: Tensor, v: Tensor, radial: Tensor, vector: Tensor, context: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Apply all layers to padded rows; `compile_interaction` compiles this part."""
        for i, layer in enumerate(self.layers):
            if context is not None:
                s = s + context[:, None, i]
            s, v = layer(s, v, radial, vector)
        return s, v


def compile_interaction(backbone: Backbone) -> None:
    """Compile the layers of ``backbone``; this needs a C++ compiler."""
    compiled = torch.compile(backbone.interact, dynamic=True)
    backbone.interact = compiled  # type: ignore[method-assign]
