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
"""Compositions drawn to replace one that is not allowed; the nearest of them is used."""


class CompositionFilter:
    """Accepts the compositions that meet the constraints of a search."""

    def __init__(self, model: TrainedModel, constraints: Constraints) -> None:
        """Raise InfeasibleError if no crystal of the model can meet the constraints."""
        self._model = model
        self._conditional = ConditionalComposition(model.prior.composition, constraints)

    def allows(self, counts: Tensor) -> Tensor:
        """Return (M,) bool: whether each composition of ``counts`` (M, Z) is allowed."""
        return self._conditional.allows(counts)

    @torch.no_grad()
    def allows_latents(self, z: Tensor) -> Tensor:
        """Return (B,) bool: whether the heads read an allowed composition from ``z`` (B, D)."""
        return self.allows(read_counts(self._model.network.heads, z))

    @torch.no_grad()
    def project(
        self, latents: Latents, counts: Tensor, seeds: Sequence[int]
    ) -> tuple[Latents, Tensor]:
        """Return B latents and their compositions (B, Z), all of which are allowed.

        Each start whose composition is not allowed keeps its noise and gets, out of CANDIDATES
        draws by its seed, the allowed composition that shares the most atoms with its own.
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
