"""Compositions one change away from another: what to try next in a search."""

from __future__ import annotations

import torch
from torch import Tensor

from cdvae.metrics.validity import composition_valid
from cdvae.prior.composition_prior import CompositionPrior

Composition = tuple[int, ...]
"""Numbers of atoms by element, hashable; place k is atomic number k + 1."""


def key(counts: Tensor) -> Composition:
    """The composition of ``counts`` (Z,)."""
    return keys(counts[None])[0]


def keys(counts: Tensor) -> list[Composition]:
    """The compositions of ``counts`` (M, Z)."""
    return [tuple(row) for row in counts.int().tolist()]


def neutral(composition: Composition) -> bool:
    """True if the composition passes the check of SMACT."""
    return composition_valid({z: n for z, n in enumerate(composition, 1) if n})


def neighbors(counts: Tensor, prior: CompositionPrior) -> Tensor:
    """(M, Z) all compositions that differ from ``counts`` (Z,) in one step.

    A step gives one atom or all atoms of an element to another one, or changes the number of atoms
    of one element. Elements and sizes are those that the prior knows.
    """
    z = len(counts)
    present = counts.nonzero().squeeze(1)
    one = torch.eye(z, dtype=counts.dtype, device=counts.device)
    exchange = one[prior.known_elements] - one[present][:, None]  # (present, known, Z)
    several = counts[present] > 1  # else one atom is all of them
    whole = (exchange * counts[present][:, None, None])[several]
    sizes = prior.sizes.nonzero().squeeze(1)
    change = (sizes - counts.sum().long()).to(counts.dtype)
    resized = change[None, :, None] * one[present][:, None]
    found = counts + torch.cat([part.flatten(0, 1) for part in (exchange, whole, resized)])
    different = (found != counts).any(1)
    return found[different & (found >= 0).all(1) & (found.sum(1) > 0)]
