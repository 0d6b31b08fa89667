"""Compositions that differ in one step, the candidates of a search."""

from __future__ import annotations

import torch
from torch import Tensor

from cdvae.metrics.validity import composition_valid
from cdvae.prior.composition_prior import CompositionPrior

Composition = tuple[int, ...]
"""Atoms of each element, hashable; index k is atomic number k + 1."""


def key(counts: Tensor) -> Composition:
    """Return the composition of ``counts`` (Z,)."""
    return keys(counts[None])[0]


def keys(counts: Tensor) -> list[Composition]:
    """Return the compositions of ``counts`` (M, Z)."""
    return [tuple(row) for row in counts.int().tolist()]


def neutral(composition: Composition) -> bool:
    """Return True if the composition passes the charge-neutrality check of SMACT."""
    return composition_valid({z: n for z, n in enumerate(composition, 1) if n})


def neighbors(counts: Tensor, prior: CompositionPrior) -> Tensor:
    """Return all compositions (M, Z) that differ from ``counts`` (Z,) in one step.

    A step gives one atom or all atoms of an element to another element, or changes the number of
    atoms of one element. Elements and numbers of atoms are those that the prior knows.
    """
    z = len(counts)
    present = counts.nonzero().squeeze(1)
    one = torch.eye(z, dtype=counts.dtype, device=counts.device)
    exchange = one[prior.known_elements] - one[present][:, None]  # (present, known, Z)
    several = counts[present] > 1  # for a single atom, both exchanges are the same
    whole = (exchange * counts[present][:, None, None])[several]
    sizes = prior.sizes.nonzero().squeeze(1)
    change = (sizes - counts.sum().long()).to(counts.dtype)
    resized = change[None, :, None] * one[present][:, None]
    changed = counts + torch.cat([part.flatten(0, 1) for part in (exchange, whole, resized)])
    different = (changed != counts).any(1)
    return changed[different & (changed >= 0).all(1) & (changed.sum(1) > 0)]
