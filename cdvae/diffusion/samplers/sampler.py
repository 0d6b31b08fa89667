"""The protocol of the samplers, and their common parts."""

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
"""Called with (evaluations done, evaluations in total); it may raise to stop the sampler."""


class Sampler(Protocol):
    """Moves atoms from noise to a sample of the score's density; keeps cell and composition."""

    @property
    def nfe(self) -> int:
        """The NFE of each crystal."""
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
            score: the score, with z and weights bound.
            start: B crystals at the highest noise level.
            rngs: one CPU generator per crystal, so that no crystal depends on its batch.
            on_level: called after every evaluation.
            symmetry: the symmetry of ``start``, which the samples keep.
        """
        ...


class PositionUpdate:
    """Moves atoms by Cartesian steps in fixed cells; inverts the cells once.

    With a ``symmetry`` only the symmetric part of the steps is taken.
    """

    def __init__(self, crystals: CrystalBatch, symmetry: Symmetry | None = None) -> None:
        self._inverse = inverse(crystals.lattice)[crystals.batch]
        self._symmetry = symmetry

    def __call__(self, crystals: CrystalBatch, step: Tensor) -> CrystalBatch:
        """Return ``crystals`` after a ``step`` (A, 3) Å of the atoms, minus the mean step."""
        step = remove_mean(step, crystals)
        step = torch.einsum("ai,aij->aj", step, self._inverse)
        if self._symmetry is not None:
            step = self._symmetry.project(step)
        return crystals.replace(frac_coords=wrap(crystals.frac_coords + step))


def normal(crystals: CrystalBatch, rngs: Sequence[torch.Generator], steps: int) -> Tensor:
    """Return standard normal numbers (steps, A, 3), each crystal's from its generator."""
    sizes = zip(crystals.num_atoms.tolist(), rngs, strict=True)
    parts = [torch.randn(steps, n, 3, generator=rng) for n, rng in sizes]
    return torch.cat(parts, 1).to(crystals.frac_coords)
