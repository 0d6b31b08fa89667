"""Batching and error handling for potentials that are networks on neighbor graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Protocol, TypeVar

import torch
from torch import Tensor

from cdvae.stability.atom_graph import AtomGraph, GraphError, StructureGraph, structure_graph
from cdvae.stability.potential import Answer, Untreatable, reason_against

if TYPE_CHECKING:
    from ase import Atoms

MAX_PAIRS = 40_000
"""Pairs of neighbors that are computed at once; more are slower, as they outgrow the caches."""


NOT_FINITE = Untreatable("the result of the potential is not finite")

Result = TypeVar("Result")


class EnergyNetwork(Protocol):
    """An energy as a function of the vectors between neighbors."""

    @property
    def cutoff(self) -> float:
        """Å; pairs that are farther apart do not interact."""

    def energies(self, graph: AtomGraph, vector: Tensor) -> Tensor:
        """Return the energies (S,) in eV; ``vector`` (P, 3) is the graph's, in single precision."""


class GraphPotential:
    """A potential whose energy is a network on the neighbor graph.

    Args:
        name: its name.
        version: of package and weights.
        elements: atomic numbers that it knows.
        network: gives the energies.
        device: where the network computes; graphs are made on the CPU.
    """

    def __init__(
        self,
        name: str,
        version: str,
        elements: frozenset[int],
        network: EnergyNetwork,
        device: torch.device,
    ) -> None:
        self.name, self.version, self.elements = name, version, elements
        self.network, self.device = network, device

    def evaluate(self, structures: Sequence[Atoms]) -> list[Answer]:
        """Return the answer for each structure; see `Potential.evaluate`."""
        return self._answers(structures, self._compute)

    def energies(self, structures: Sequence[Atoms]) -> list[float | Untreatable]:
        """Return eV for each structure; see `Potential.energies`."""
        return self._answers(structures, self._compute_energies)

    def _answers(
        self,
        structures: Sequence[Atoms],
        compute: Callable[[Sequence[StructureGraph]], Sequence[Result | Untreatable]],
    ) -> list[Result | Untreatable]:
        answers: dict[int, Result | Untreatable] = {}
        graphs: dict[int, StructureGraph] = {}
        for place, atoms in enumerate(structures):
            if reason := reason_against(atoms, self.elements):
                answers[place] = Untreatable(reason)
                continue
            try:
                graphs[place] = structure_graph(atoms, self.network.cutoff)
            except GraphError as error:
                answers[place] = Untreatable(str(error))
        for places in _portions(graphs):
            computed = compute([graphs[place] for place in places])
            answers.update(zip(places, computed, strict=True))
        return [answers[place] for place in range(len(structures))]

    def _compute(self, graphs: Sequence[StructureGraph]) -> list[Answer]:
        graph = AtomGraph.cat(graphs)
        with torch.enable_grad():
            vector = graph.vector.to(self.device, torch.float).requires_grad_()
            energy = self.network.energies(graph.to(self.device), vector)
            (gradient,) = torch.autograd.grad(energy.sum(), vector)
        found = graph.evaluations(energy.detach().cpu(), gradient.cpu())
        return [one if one.finite else NOT_FINITE for one in found]

    def _compute_energies(self, graphs: Sequence[StructureGraph]) -> list[float | Untreatable]:
        graph = AtomGraph.cat(graphs)
        with torch.no_grad():
            vector = graph.vector.to(self.device, torch.float)
            energy = self.network.energies(graph.to(self.device), vector).tolist()
        return [one if isfinite(one) else NOT_FINITE for one in energy]


def _portions(graphs: dict[int, StructureGraph]) -> list[list[int]]:
    """Return the places of all graphs, divided so that a portion has at most MAX_PAIRS pairs."""
    portions: list[list[int]] = []
    total = 0
    for place, graph in graphs.items():
        total += len(graph.first)
        if not portions or total > MAX_PAIRS:
            portions.append([])
            total = len(graph.first)
        portions[-1].append(place)
    return portions
