"""Compositions one change away from another: what to try next in a search."""

from __future__ import annotations

import torch
from torch import Tensor

from cdvae.metrics.validity import composition_valid
from cdvae.model.composition_prior import CompositionPrior

Composition = tuple[int, ...]
"""Numbers of atoms by element, hashable; place k is atomic number k + 1."""


def key(counts: Tensor) -> Composition:
    """The composition of ``counts`` (Z,)."""
    return tuple(int(n) for n in counts)


def neutral(composition: Composition) -> bool:
    """True if the composition passes the check of SMACT."""
    return composition_valid({z: n for z, n in enumerate(composition, 1) if n})


def neighbours(counts: Tensor, prior: CompositionPrior) -> Tensor:
    """(M, Z) all compositions that differ from ``counts`` (Z,) in one step.

    A step gives one atom or all atoms of an element to another one, or changes the number of atoms
    of one element. Elements and sizes are those that the prior knows.
    """
    z = len(counts)
    present = counts.nonzero().squeeze(1)
    one = torch.eye(z, dtype=counts.dtype, device=counts.device)
    exchange = one[prior.species] - one[present][:, None]  # (present, known, Z)
    whole = exchange * counts[present][:, None, None]
    sizes = prior.sizes.nonzero().squeeze(1)
    change = (sizes - counts.sum().long()).to(counts.dtype)
    resized = change[None, :, None] * one[present][:, None]
    steps = torch.cat([part.flatten(0, 1) for part in (exchange, whole, resized)])
    found = torch.unique(counts + steps, dim=0)
    different = (found != counts).any(1)
    return found[different & (found >= 0).all(1) & (found.sum(1) > 0)]


def promising(
    counts: Tensor,
    order: Tensor,
    candidates: Tensor,
    prior: CompositionPrior,
    floor: float,
    taboo: set[Composition],
    number: int,
) -> Tensor:
    """(K, Z) ``counts`` (Z,) unless taboo, then up to ``number`` of ``candidates`` (M, Z).

    Candidates are taken in ``order`` (M,) among those that are neutral, not taboo and at least as
    likely as ``floor`` (nats) under the prior. Only the first ``4 * number`` are looked at.
    """
    considered = candidates[order[: 4 * number]]
    if len(considered):
        considered = considered[prior.log_prob(considered) >= floor]
    chosen = [] if key(counts) in taboo else [counts]
    for row in considered:
        if len(chosen) > number:
            break
        if key(row) not in taboo and neutral(key(row)):
            chosen.append(row)
    return torch.stack(chosen) if chosen else counts[None]
