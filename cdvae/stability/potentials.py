"""The potentials by name."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

from cdvae.stability.chgnet_potential import load_chgnet
from cdvae.stability.graph_potential import GraphPotential
from cdvae.stability.sevennet_potential import load_sevennet

_LOADERS: dict[str, tuple[str, str, Callable[[str], GraphPotential]]] = {
    "chgnet": ("chgnet", "worker", load_chgnet),
    "sevennet": ("sevenn", "second-opinion", load_sevennet),
}
NAMES = tuple(_LOADERS)


def installed(name: str) -> bool:
    """Return whether the package of potential ``name`` is installed.

    Raises:
        ValueError: there is no potential with this name.
    """
    package, _, _ = _entry(name)
    return importlib.util.find_spec(package) is not None


def load_potential(name: str, device: str = "cpu") -> GraphPotential:
    """Return potential ``name`` on ``device``, "auto" for the best there is.

    Raises:
        ValueError: there is no potential with this name, or its package is not installed.
    """
    package, extra, load = _entry(name)
    if not installed(name):
        raise ValueError(
            f"potential {name!r} needs the package {package}: pip install 'cdvae-service[{extra}]'"
        )
    return load(device)


def _entry(name: str) -> tuple[str, str, Callable[[str], GraphPotential]]:
    if name not in _LOADERS:
        raise ValueError(f"unknown potential {name!r}; known: {', '.join(NAMES)}")
    return _LOADERS[name]
