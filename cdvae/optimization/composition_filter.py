"""Constraints on the compositions that a search may visit."""

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

CANDIDATES = 64
"""The number of compositions to draw as a replacement; the nearest one is used."""


class CompositionFilter:
    """Accepts the compositions that meet the constraints of a search."""

    def __init__(self, model: TrainedModel, constraints: Constraints) -> None:
        """Raise InfeasibleError if no crystal of the model can meet the constraints."""
        self._model = model
        self._conditional = ConditionalComposition(model.prior.composition, constraints)

    def allows(self, counts: Tensor) -> Tensor:
        """Return a mask (M,) of the allowed compositions in ``counts`` (M, Z)."""
        return self._conditional.allows(counts)

    @torch.no_grad()
    def allows_latents(self, z: Tensor) -> Tensor:
        """Return a mask (B,) of the ``z`` (B, D) whose composition (by the heads) is allowed."""
        return self.allows(read_counts(self._model.network.heads, z))

    @torch.no_grad()
    def project(
        self, latents: Latents, counts: Tensor, seeds: Sequence[int]
    ) -> tuple[Latents, Tensor]:
        """Return B latents and their compositions (B, Z), all of which are allowed.

        A start whose composition is not allowed keeps its noise. Its composition is replaced by the
        one of CANDIDATES draws that shares the most atoms with it.
        """
        prior, counts, projected = self._model.prior, counts.clone(), []
        for row, (seed, allowed) in enumerate(
            zip(seeds, self.allows(counts).tolist(), strict=True)
        ):
            start = latents.select([row])
            if not allowed:
                # The names of the streams are part of the seed: a new name changes the crystals.
                streams = [f"admission {i}" for i in range(CANDIDATES)]
                numbers = torch.cat(
                    [uniform([seed], self._conditional.draws, stream) for stream in streams]
                )
                candidates = self._conditional.sample(numbers.to(counts.device))
                nearest = candidates[(candidates - counts[row]).abs().sum(1).argmin()]
                noise = prior.invert(start.z, counts[row][None])
                start = Latents.of(prior.sample_from_noise(noise, nearest[None]))
                counts[row] = nearest
            projected.append(start)
        return Latents.cat(projected), counts
