"""SevenNet-l3i5, a second opinion. Its weights come inside the package ``sevenn``."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cdvae.stability.atom_graph import AtomGraph
from cdvae.stability.graph_potential import GraphPotential

WEIGHTS = Path("pretrained_potentials", "SevenNet_l3i5", "checkpoint_l3i5.pth")
"""Within the package; it would download models by other names, so it is given a path."""


class SevennetNetwork:
    """SevenNet's energy as a function of pair vectors.

    Args:
        model: `sevenn.nn.sequential.AtomGraphSequential`, with its last module, which makes the
            forces, removed.
    """

    def __init__(self, model: Any) -> None:
        from sevenn import _keys as key

        self.model, self.cutoff, self._key = model, float(model.cutoff), key

    def energies(self, graph: AtomGraph, vector: Tensor) -> Tensor:
        """Return (S,) eV, in double; see `EnergyNetwork.energies`."""
        key = self._key
        first = torch.cat([graph.first, graph.second])  # each pair in both directions
        second = torch.cat([graph.second, graph.first])
        both = torch.cat([vector, -vector])
        found = self.model(
            {
                key.NODE_FEATURE: graph.atomic_numbers,
                key.ATOMIC_NUMBERS: graph.atomic_numbers,
                key.EDGE_IDX: torch.stack([first, second]),
                key.EDGE_VEC: both,
                key.NUM_ATOMS: graph.num_atoms,
                key.BATCH: graph.structure,
            }
        )
        site: Tensor = found[key.ATOMIC_ENERGY].squeeze(-1).double()
        return site.new_zeros(len(graph.num_atoms)).index_add(0, graph.structure, site)


def load_sevennet(device: str = "cpu") -> GraphPotential:
    """Return SevenNet-l3i5 (Park et al. 2024; 1.2 million parameters, 89 elements).

    It needs the package set ``second-opinion``.

    Args:
        device: where it computes; "auto" for the best there is.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # e3nn uses deprecated parts of torch.jit
        from sevenn.checkpoint import SevenNetCheckpoint

        spec = importlib.util.find_spec("sevenn")
        assert spec is not None
        assert spec.origin is not None
        checkpoint = SevenNetCheckpoint(str(Path(spec.origin).parent / WEIGHTS))
        model = checkpoint.build_model()
    logging.getLogger("sevenn").setLevel(logging.WARNING)
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    model.delete_module_by_key("force_output")
    model.key_grad = None  # the pair vectors are differentiated by, not the positions
    model.set_is_batch_data(True)
    model = model.to(chosen).eval().requires_grad_(False)
    return GraphPotential(
        "SevenNet",
        f"{version('sevenn')} (weights l3i5)",
        frozenset(model.type_map or ()),
        SevennetNetwork(model),
        torch.device(chosen),
    )
