"""Latents from the prior, or from the posterior of given crystals."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cdvae.compute import parallel_map
from cdvae.geometry.crystal import CrystalBatch
from cdvae.inference.bucketing import pad_to_multiple, ranges
from cdvae.inference.chunks import chunks
from cdvae.inference.initial_state import read_counts
from cdvae.inference.seeds import generators, normal, uniform
from cdvae.model_folder import TrainedModel
from cdvae.nn.encoder import Latents, Posterior

PRIOR_DRAWS = 10
PRIOR_ROWS = 32
"""Number of latents that a thread draws in one batch."""


@torch.no_grad()
def sample_latents(model: TrainedModel, seeds: Sequence[int]) -> Latents:
    """Return latents for new crystals.

    The prior draws a composition and then z for it. z is drawn again if the heads read
    another composition from it, at most PRIOR_DRAWS times in total.
    """
    parts = ranges(len(seeds), PRIOR_ROWS)
    drawn = parallel_map(lambda part: _draw(model, [seeds[i] for i in part]), parts)
    return Latents.of(torch.cat(drawn))


def _draw(model: TrainedModel, seeds: Sequence[int]) -> Tensor:
    """Return latents (B, D) of the prior."""
    padded = pad_to_multiple(range(len(seeds)))
    composition = model.prior.composition
    numbers = uniform([seeds[i] for i in padded], composition.draws, "composition")
    counts = composition.sample(numbers.to(model.device))
    latents = counts.new_empty(len(padded), model.config.model.latent_dim)
    pending = padded
    for attempt in range(PRIOR_DRAWS):
        noise = normal([seeds[i] for i in pending], model.prior.components, f"latent {attempt}")
        latents[pending] = model.prior.sample_from_noise(noise.to(model.device), counts[pending])
        agrees = (read_counts(model.network.heads, latents[pending]) == counts[pending]).all(-1)
        left = sorted({i for i, agree in zip(pending, agrees.tolist(), strict=True) if not agree})
        if not left:
            break
        pending = pad_to_multiple(left)
    return latents[: len(seeds)]


@torch.no_grad()
def encode(model: TrainedModel, crystals: CrystalBatch) -> Posterior:
    """Return the posterior of each crystal, encoded chunk by chunk."""
    rows = chunks(len(crystals), model)
    parts = [model.network.encode(crystals.select(r).to(model.device)) for r in rows]
    return Posterior.cat(parts)


@torch.no_grad()
def sample_posterior(
    model: TrainedModel, posterior: Posterior, seeds: Sequence[int], width: Tensor | None = None
) -> Latents:
    """Return a draw of each posterior, its deviation from the mean times ``width`` (B,) or 1."""
    width = torch.ones(len(seeds), device=model.device) if width is None else width.to(model.device)
    z, atom_latents, sizes = posterior.z, posterior.atom_latents, posterior.num_atoms.tolist()
    rngs = zip(sizes, generators(seeds, "codes of the posterior"), strict=True)  # part of the seed
    noise = torch.cat(
        [torch.randn(n, atom_latents.mean.shape[1], generator=rng) for n, rng in rngs]
    )
    spread = (0.5 * z.logvar).exp() * width[:, None]
    spreads = (0.5 * atom_latents.logvar).exp() * width.repeat_interleave(posterior.num_atoms)[
        :, None
    ]
    drawn = normal(seeds, z.mean.shape[1], "posterior").to(model.device)
    return Latents(
        z.mean + spread * drawn,
        atom_latents.mean + spreads * noise.to(atom_latents.mean),
        posterior.num_atoms,
    )


@torch.no_grad()
def predict(model: TrainedModel, latents: Tensor) -> dict[str, Tensor]:
    """Return every property (B,), in the card's units, predicted from ``latents`` (B, D)."""
    heads = model.network.heads
    values = heads.property_values(heads(latents).properties)
    return dict(zip(model.properties, values.unbind(-1), strict=True))
