"""The protocol of the samplers, and their common parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from cdvae.diffusion.noise import remove_mean
from cdvae.diffusion.samplers.orbits import Symmetry
from cdvae.diffusion.samplers.species_assignment import assign_species
from cdvae.diffusion.score import Score
from cdvae.geometry.crystal import CrystalBatch
from cdvae.geometry.lattice import inverse
from cdvae.geometry.torus import wrap

OnLevel = Callable[[int, int], None]
"""Called with (evaluations done, evaluations in total); it may raise to stop the sampler."""
Update = tuple[Tensor, Tensor, Tensor | None]
"""Noise level (B,) Å of an evaluation, gain (A, 1) Å² and noise (A, 3) Å of its step."""


class DiffusionSampler(Protocol):
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


def run_updates(
    score: Score,
    start: CrystalBatch,
    updates: Iterable[Update],
    nfe: int,
    on_level: OnLevel | None,
    symmetry: Symmetry | None,
) -> CrystalBatch:
    """Return ``start`` after all ``updates``, with one evaluation of ``score`` for each.

    An update moves the atoms by gain · score + noise, minus the mean over the crystal, and then
    reassigns the elements to the atoms. With a ``symmetry`` only the symmetric part is taken.
    """
    crystals, to_frac = start, inverse(start.lattice)[start.batch]
    for done, (sigma, gain, noise) in enumerate(updates, 1):
        output = score(crystals, sigma)
        step = gain * output.shift if noise is None else gain * output.shift + noise
        step = torch.einsum("ai,aij->aj", remove_mean(step, crystals), to_frac)
        if symmetry is not None:
            step = symmetry.project(step)
        crystals = crystals.replace(frac_coords=wrap(crystals.frac_coords + step))
        assign = assign_species if symmetry is None else symmetry.assign
        crystals = assign(crystals, output.species_logits)
        if on_level:
            on_level(done, nfe)
    return crystals


def normal(crystals: CrystalBatch, rngs: Sequence[torch.Generator], steps: int) -> Tensor:
    """Return standard normal numbers (steps, A, 3), each crystal's from its generator."""
    sizes = zip(crystals.num_atoms.tolist(), rngs, strict=True)
    parts = [torch.randn(steps, n, 3, generator=rng) for n, rng in sizes]
    return torch.cat(parts, 1).to(crystals.frac_coords)
