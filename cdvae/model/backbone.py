"""The equivariant message-passing network that encoder and decoder are both built from.

Polarisable atom interaction layers (PaiNN; Schütt, Unke, Gastegger 2021): every atom carries
scalars and vectors, messages mix them along the edges of the periodic multigraph. All lengths are
measured in units of the crystal's own spacing (V/N)^(1/3), so a crystal has about the same number
of neighbours at any density and the graph does not depend on the choice of cell.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing
from torch_geometric.utils import scatter

from cdvae.crystal import CrystalBatch
from cdvae.neighbors import periodic_edges


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
    """What the layers see of the crystals: rotation-invariant numbers and unit vectors."""

    index: Tensor  # (2, E) source and target of each edge
    radial: Tensor  # (E, R) radial basis times the envelope
    unit: Tensor  # (E, 3) from target to source


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """One hidden layer with SiLU."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, outputs))


def radial_basis(distance: Tensor, size: int) -> Tensor:
    """(E, R) Bessel functions of ``distance`` in [0, 1] under a smooth envelope (Gasteiger 2020).

    The envelope is 1 at 0 and has zero value, slope and curvature at 1, so an atom that crosses
    the cutoff changes nothing abruptly. Its high power keeps second neighbours and the nearest
    images of an atom itself, which tell where the lattice points, at a weight that can be learned
    from.
    """
    frequency = math.pi * torch.arange(1, size + 1, device=distance.device)
    bessel = torch.sinc(distance[:, None] * frequency / math.pi) * frequency / math.pi
    envelope = 1 - 45 * distance**8 + 80 * distance**9 - 36 * distance**10
    return bessel * envelope[:, None] * math.sqrt(2 / size)


def geometry(crystals: CrystalBatch, config: BackboneConfig) -> Geometry:
    """The edges of ``crystals`` within the cutoff."""
    cutoff = config.cutoff * crystals.spacing
    edges = periodic_edges(crystals, cutoff)
    scale = cutoff[crystals.owner[edges.target]]
    unit = edges.vector / edges.length.clamp(min=1e-6)[:, None]
    return Geometry(
        torch.stack([edges.source, edges.target]),
        radial_basis(edges.length / scale, config.radial),
        unit,
    )


def neighbour_density(graph: Geometry, n_atoms: int) -> Tensor:
    """(A, R) radial basis summed over the neighbours of each atom: what its site looks like."""
    return scatter(graph.radial, graph.index[1], 0, n_atoms, reduce="sum")


class Interaction(MessagePassing):
    """Messages along the edges, then a gated update of every atom.

    Args of ``forward``: scalars (A, S), vectors (A, 3, V), the geometry. Returns both, updated.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__(aggr="sum", node_dim=0)
        s, v = config.scalars, config.vectors
        self.sizes = (s, v, v)
        self.norm = nn.LayerNorm(s)
        self.source = mlp(s, s, s + 2 * v)
        self.filter = nn.Linear(config.radial, s + 2 * v, bias=False)
        self.mix = nn.Linear(v, 2 * v, bias=False)
        self.project = nn.Linear(v, s, bias=False)
        self.update_norm = nn.LayerNorm(s)
        self.update_mlp = mlp(s + v, s, s + 2 * v)
        # About the expected number of neighbours: keeps sums over edges O(1).
        self.scale = (4.19 * config.cutoff**3) ** -0.5

    def forward(self, s: Tensor, v: Tensor, graph: Geometry) -> tuple[Tensor, Tensor]:
        """Returns scalars (A, S) and vectors (A, 3, V)."""
        gathered = torch.cat([self.source(self.norm(s)), v.flatten(1)], 1)
        weights = self.filter(graph.radial)
        summed = self.propagate(graph.index, h=gathered, weights=weights, unit=graph.unit)
        ds, dv = (summed * self.scale).split([s.shape[1], 3 * v.shape[2]], 1)
        s = s + ds
        v = v + dv.view_as(v)

        left, right = self.mix(v).chunk(2, -1)
        norm = (left.square().sum(1) + 1e-8).sqrt()
        ds, gate, inner = self.update_mlp(torch.cat([self.update_norm(s), norm], 1)).split(
            self.sizes, 1
        )
        s = s + ds + self.project(inner * (left * right).sum(1))
        v = v + gate[:, None] * right
        return s, v

    def message(self, h_j: Tensor, weights: Tensor, unit: Tensor) -> Tensor:
        """(E, S + 3V) scalar and vector messages."""
        s, v, _ = self.sizes
        filtered = h_j[:, : s + 2 * v] * weights
        ds, along, carried = filtered.split(self.sizes, 1)
        neighbour = h_j[:, s + 2 * v :].view(-1, 3, v)
        dv = unit[:, :, None] * along[:, None] + neighbour * carried[:, None]
        return torch.cat([ds, dv.flatten(1)], 1)


class Backbone(nn.Module):
    """A stack of interactions; ``context`` (A, S) is added to the scalars before each of them."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(Interaction(config) for _ in range(config.layers))

    def forward(
        self, scalars: Tensor, graph: Geometry, context: list[Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns invariant scalars (A, S) and equivariant vectors (A, 3, V)."""
        vectors = scalars.new_zeros(len(scalars), 3, self.config.vectors)
        for i, layer in enumerate(self.layers):
            if context is not None:
                scalars = scalars + context[i]
            scalars, vectors = layer(scalars, vectors, graph)
        return scalars, vectors
