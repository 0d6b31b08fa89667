"""CHGNet, the default potential. Its weights come inside the package ``chgnet``."""

from __future__ import annotations

import contextlib
import io
from importlib.metadata import version

from cdvae.stability.chgnet_network import ChgnetNetwork
from cdvae.stability.graph_potential import GraphPotential


def load_chgnet(device: str = "cpu") -> GraphPotential:
    """Return CHGNet (Deng et al. 2023; 0.41 million parameters, elements H to Pu).

    Args:
        device: where it computes; "auto" for the best there is.
    """
    from chgnet.model.model import CHGNet

    with contextlib.redirect_stdout(io.StringIO()):  # it prints where it runs
        model = CHGNet.load(use_device=None if device == "auto" else device, verbose=False)
    network = ChgnetNetwork(model.eval())
    return GraphPotential(
        "CHGNet",
        f"{version('chgnet')} (weights {model.version})",
        frozenset(range(1, network.num_elements + 1)),
        network,
        next(model.parameters()).device,
    )
