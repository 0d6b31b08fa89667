"""Sampling of symmetric crystals: atoms stay on the orbits of a space group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from cdvae.geometry.crystal import CrystalBatch
from cdvae.geometry.torus import wrap
from cdvae.symmetry.placement import WyckoffPlan


@dataclass(frozen=True)
class Symmetry:
    """The symmetry of B crystals with N atoms each.

    The average of a step over the group is its orthogonal projection onto the symmetric steps. It
    turns a score into the score of the density on symmetric crystals, and white noise into white
    noise on them.
    """

    projector: Tensor  # (B, 3N, 3N) acts on fractional steps
    orbit: Tensor  # (A,) int64, ascending within each crystal

    def project(self, step: Tensor) -> Tensor:
        """Return the symmetric part (A, 3) of the fractional steps (A, 3)."""
        flat_step = step.view(len(self.projector), -1, 1)
        return (self.projector @ flat_step).view_as(step)

    def assign(self, crystals: CrystalBatch, logits: Tensor) -> CrystalBatch:
        """Return ``crystals`` with elements exchanged between orbits of equal size.

        The assignment is the likeliest under ``logits`` (A, Z), as in `species_assignment`.
        """
        atomic_numbers = crystals.atomic_numbers.view(len(self.projector), -1).cpu().numpy().copy()
        scores = logits.view(*atomic_numbers.shape, -1).double().cpu().numpy()
        orbits = self.orbit.view(atomic_numbers.shape).cpu().numpy()
        for numbers, score, orbit in zip(atomic_numbers, scores, orbits, strict=True):
            _, first, sizes = np.unique(orbit, return_index=True, return_counts=True)
            for size in np.unique(sizes):
                equal = np.flatnonzero(sizes == size)
                elements = numbers[first[equal]]
                if len(set(elements.tolist())) > 1:
                    gain = np.add.reduceat(score, first, 0)[equal][:, elements - 1]
                    _, chosen = linear_sum_assignment(gain, maximize=True)
                    for index, element in zip(equal, elements[chosen], strict=True):
                        numbers[orbit == index] = element
        return crystals.replace(
            atomic_numbers=torch.from_numpy(atomic_numbers).view(-1).to(crystals.atomic_numbers)
        )


def place_on_wyckoff(
    crystals: CrystalBatch, plans: Sequence[WyckoffPlan], rngs: Sequence[torch.Generator]
) -> tuple[CrystalBatch, Symmetry]:
    """Return ``crystals`` with their elements on random sites of ``plans``, one per crystal."""
    placed, atomic_numbers = [], []
    for plan, crystal, rng in zip(plans, crystals.split(), rngs, strict=True):
        seed = int(torch.randint(2**62, (1,), generator=rng))
        placed.append(plan.draw_placement(np.random.default_rng(seed)))
        elements = crystal.atomic_numbers.unique()  # ascending, like the shares of the plan
        atomic_numbers.append(elements[torch.from_numpy(placed[-1].element).to(elements.device)])
    frac_coords = torch.from_numpy(np.concatenate([one.frac_coords for one in placed])).to(
        crystals.frac_coords
    )
    symmetry = Symmetry(
        torch.from_numpy(np.stack([one.projector for one in placed])).to(crystals.frac_coords),
        torch.from_numpy(np.concatenate([one.orbit for one in placed])).to(crystals.atomic_numbers),
    )
    return crystals.replace(
        frac_coords=wrap(frac_coords), atomic_numbers=torch.cat(atomic_numbers)
    ), symmetry
