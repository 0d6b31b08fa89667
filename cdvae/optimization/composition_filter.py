"""Which compositions a search may visit, and where a start begins that has another one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cdvae.constraints import Constraints
from cdvae.inference.initial_state import read_counts
from cdvae.inference.seeds import uniform
from cdvae.model_folder import TrainedModel
from cdvae.nn.encoder import Latents
from cdvae.prior.conditional_composition import ConditionalComposition

CHOICES = 64
"""Compositions that are drawn for a start that is not admitted; the nearest one is taken."""


class Admission:
    """The constraints on the atoms of all crystals of a search."""

    def __init__(self, model: TrainedModel, constraints: Constraints) -> None:
        """Raises InfeasibleError where no crystal of the model can meet the constraints."""
        self._model = model
        self._law = ConditionalComposition(model.prior.composition, constraints)

    def allows(self, counts: Tensor) -> Tensor:
        """(M,) bool: which of the compositions ``counts`` (M, Z) crystals may have."""
        return self._law.allows(counts)

    @torch.no_grad()
    def admits(self, z: Tensor) -> Tensor:
        """(B,) bool: whether the heads read an allowed composition from ``z`` (B, D)."""
        return self.allows(read_counts(self._model.network.heads, z))

    @torch.no_grad()
    def admit(
        self, latents: Latents, counts: Tensor, seeds: Sequence[int]
    ) -> tuple[Latents, Tensor]:
        """B latents and their ``counts`` (B, Z), all of them allowed.

        One that is not is moved, at its noise, to the allowed composition, of CHOICES draws by the
        start's seed, that shares most atoms with its own.
        """
        prior, counts, parts = self._model.prior, counts.clone(), []
        for row, (seed, fine) in enumerate(zip(seeds, self.allows(counts).tolist(), strict=True)):
            part = latents.select([row])
            if not fine:
                names = [f"admission {i}" for i in range(CHOICES)]
                numbers = torch.cat([uniform([seed], self._law.draws, name) for name in names])
                drawn = self._law.sample(numbers.to(counts.device))
                nearest = drawn[(drawn - counts[row]).abs().sum(1).argmin()]
                noise = prior.invert(part.z, counts[row][None])
                part = Latents.of(prior.sample_from_noise(noise, nearest[None]))
                counts[row] = nearest
            parts.append(part)
        return Latents.cat(parts), counts
