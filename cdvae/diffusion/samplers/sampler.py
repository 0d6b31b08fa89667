"""What every sampler is, and the pieces that all of them share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from cdvae.diffusion.noise import remove_mean
from cdvae.diffusion.samplers.orbits import Symmetry
from cdvae.diffusion.score import Score
from cdvae.geometry.crystal import CrystalBatch
from cdvae.geometry.lattice import inverse
from cdvae.geometry.torus import wrap

OnLevel = Callable[[int, int], None]
"""Called with (steps done, steps in all) of the sampler; it may raise to stop it."""


class Sampler(Protocol):
    """Moves crystals from noise to samples of a score's density; lattice and composition stay."""

    @property
    def nfe(self) -> int:
        """Score nfe that each crystal costs."""
        ...

    def __call__(
        self,
        score: Score,
        start: CrystalBatch,
        rngs: Sequence[torch.Generator],
        on_level: OnLevel | None = None,
        symmetry: Symmetry | None = None,
    ) -> CrystalBatch:
        """Return the samples.

        Args:
            score: the score, z and weights bound.
            start: B crystals at the highest noise level.
            rngs: one CPU generator a crystal, so that no crystal depends on its batch.
            on_level: called after every evaluation.
            symmetry: what the crystals have from the start on and keep.
        """
        ...


class PositionUpdate:
    """Moves atoms by Cartesian steps in fixed cells; the lattice algebra is done once.

    With a ``symmetry`` only the symmetric part of the steps is taken.
    """

    def __init__(self, crystals: CrystalBatch, symmetry: Symmetry | None = None) -> None:
        self._inverse = inverse(crystals.lattice)[crystals.batch]
        self._symmetry = symmetry

    def __call__(self, crystals: CrystalBatch, step: Tensor) -> CrystalBatch:
        """``crystals`` with every atom moved by its ``step`` (A, 3) Å, less the common drift."""
        step = remove_mean(step, crystals)
        step = torch.einsum("ai,aij->aj", step, self._inverse)
        if self._symmetry is not None:
            step = self._symmetry.project(step)
        return crystals.replace(frac_coords=wrap(crystals.frac_coords + step))


def normal(crystals: CrystalBatch, rngs: Sequence[torch.Generator], steps: int) -> Tensor:
    """Return (steps, A, 3): standard normal, each crystal's part from its own generator."""
    sizes = zip(crystals.num_atoms.tolist(), rngs, strict=True)
    parts = [torch.randn(steps, n, 3, generator=rng) for n, rng in sizes]
    return torch.cat(parts, 1).to(crystals.frac_coords)
