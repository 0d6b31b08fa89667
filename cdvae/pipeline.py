"""The tasks of the model, end to end: seeds or crystals or latents in, crystals out.

Every random number of crystal i comes from generators seeded by its own seed, so the crystal does
not depend on its batch, on chunk sizes or on what was sampled before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from cdvae.crystal import CrystalBatch
from cdvae.errors import NonFiniteSampleError
from cdvae.model.encoder import Latent
from cdvae.noise import NoiseSchedule
from cdvae.sampling.ancestral import Ancestral
from cdvae.sampling.best_of import BestOf
from cdvae.sampling.langevin import Langevin
from cdvae.sampling.protocol import OnLevel, Sampler
from cdvae.sampling.start import read_counts, start_crystals
from cdvae.trained import TrainedModel

FAST_STEPS = 100
FAST_LEVELS = 25
LANGEVIN_LEVELS = 50
PRIOR_DRAWS = 10
CHUNK_ATOMS = 320
"""Atoms sampled together: on CPU larger temporaries leave the caches, on GPU more fit."""
CHUNK_ATOMS_CUDA = 16384


@dataclass(frozen=True)
class SamplerSpec:
    """A sampler by name; ``steps`` is its number of score evaluations, None for the default."""

    name: str
    steps: int | None = None


@dataclass(frozen=True)
class Decoded:
    """Crystals decoded from latents, and what the estimator says of them."""

    crystals: CrystalBatch
    properties: dict[str, Tensor]  # (B,) each, in the card's units, as the estimator has it
    score_evaluations: int  # of each crystal


def crystal_seed(seed: int, index: int) -> int:
    """The seed of crystal ``index`` of a job: 63 bits, without a pattern between neighbours."""
    digest = hashlib.blake2b(f"{seed}/{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def _generators(seeds: Sequence[int], stream: str) -> list[torch.Generator]:
    """One CPU generator a crystal; streams of one seed are independent of each other."""
    rngs = []
    for seed in seeds:
        digest = hashlib.blake2b(f"{seed}/{stream}".encode(), digest_size=8).digest()
        rngs.append(torch.Generator().manual_seed(int.from_bytes(digest) >> 1))
    return rngs


def _normal(seeds: Sequence[int], model: TrainedModel, stream: str) -> Tensor:
    rngs = _generators(seeds, stream)
    rows = [torch.randn(model.config.model.latent_dim, generator=rng) for rng in rngs]
    return torch.stack(rows).to(model.device)


@torch.no_grad()
def sample_latents(
    model: TrainedModel, seeds: Sequence[int], prior: Literal["learned", "normal"] = "learned"
) -> Tensor:
    """(B, D) latents for new crystals, from the learned prior or from N(0, I).

    The learned prior draws a composition and then z for it; a z that the composition head reads
    otherwise is drawn again, up to PRIOR_DRAWS times.
    """
    if prior == "normal":
        return _normal(seeds, model, "latent 0")
    rngs = _generators(seeds, "composition")
    uniform = torch.stack([torch.rand(model.config.model.max_atoms, generator=r) for r in rngs])
    counts = model.prior.composition.sample(uniform.to(model.device))
    latents = counts.new_empty(len(seeds), model.config.model.latent_dim)
    pending = torch.arange(len(seeds), device=model.device)
    for attempt in range(PRIOR_DRAWS):
        chosen = [seeds[i] for i in pending.tolist()]
        noise = _normal(chosen, model, f"latent {attempt}")
        latents[pending] = model.prior.transport(noise, counts[pending])
        agrees = (read_counts(model.network.heads, latents[pending]) == counts[pending]).all(-1)
        pending = pending[~agrees]
        if not len(pending):
            break
    return latents


@torch.no_grad()
def encode(model: TrainedModel, crystals: CrystalBatch) -> Latent:
    """The posterior over z of each crystal."""
    return model.network.encode(crystals.to(model.device))


@torch.no_grad()
def sample_posterior(model: TrainedModel, latent: Latent, seeds: Sequence[int]) -> Tensor:
    """(B, D) one draw from each posterior."""
    return latent.mean + (0.5 * latent.logvar).exp() * _normal(seeds, model, "posterior")


@torch.no_grad()
def predict(model: TrainedModel, latents: Tensor) -> dict[str, Tensor]:
    """(B,) of every property, in the card's units, read from ``latents`` (B, D)."""
    heads = model.network.heads
    values = heads.property_values(heads(latents).properties)
    return dict(zip(model.properties, values.unbind(-1), strict=True))


@torch.no_grad()
def estimate(model: TrainedModel, crystals: CrystalBatch) -> dict[str, Tensor]:
    """(B,) of every property, in the card's units, by the model trained apart from the generator.

    Finite for every crystal whose cell has a volume, also far from the data; how well it does on
    crystals like the data is in the card, quality.estimator.
    """
    parts = [
        model.estimator.values(crystals.select(rows).to(model.device))
        for rows in chunks(len(crystals), model)
    ]
    return dict(zip(model.properties, torch.cat(parts).unbind(-1), strict=True))


def build_sampler(model: TrainedModel, spec: SamplerSpec, latents: Tensor) -> Sampler:
    """The sampler of that name with the noise levels that the model was trained for.

    ``fast`` divides its steps among runs of about FAST_LEVELS levels and keeps the run whose
    crystal, encoded again, comes nearest to ``latents`` (B, D); ``langevin`` is one run of
    LANGEVIN_LEVELS levels.

    Raises:
        ValueError: the name is unknown or the number of steps is impossible.
    """
    schedule = NoiseSchedule(model.config.model.sigma_max, model.config.model.sigma_min)
    if spec.name == "fast":
        steps = FAST_STEPS if spec.steps is None else spec.steps
        if steps < 1:
            raise ValueError(f"sampler fast takes at least 1 step, not {steps}")
        runs = max(1, round(steps / FAST_LEVELS))
        misfit = partial(model.network.misfit, latents)
        return BestOf(Ancestral(schedule, steps // runs), runs, misfit)
    if spec.name == "langevin":
        steps = 100 * LANGEVIN_LEVELS if spec.steps is None else spec.steps
        if steps < LANGEVIN_LEVELS or steps % LANGEVIN_LEVELS:
            raise ValueError(f"sampler langevin takes a multiple of 50 steps, not {steps}")
        return Langevin(schedule, LANGEVIN_LEVELS, steps // LANGEVIN_LEVELS)
    raise ValueError(f"no sampler named {spec.name!r}; there are fast and langevin")


@torch.no_grad()
def decode(
    model: TrainedModel,
    latents: Tensor,
    seeds: Sequence[int],
    sampler: SamplerSpec,
    on_level: OnLevel | None = None,
) -> Decoded:
    """The crystals of ``latents``: heads give size, cell, composition; the sampler the sites.

    Args:
        model: the trained model.
        latents: (B, D).
        seeds: one a crystal.
        sampler: which sampler, how many steps.
        on_level: called with (levels done, levels in all) after each level; may raise to stop.

    Raises:
        NonFiniteSampleError: coordinates or cells became NaN or infinite.
        ValueError: the sampler does not exist.
    """
    chosen = build_sampler(model, sampler, latents)
    _require_finite(~latents.isfinite().all(-1))
    rngs = _generators(seeds, "decode")
    start = start_crystals(model.network.heads, latents, rngs)
    crystals = chosen(model.network.decoder.bind(latents), start, rngs, on_level)
    broken = ~crystals.lattice.flatten(1).isfinite().all(-1)
    broken[crystals.owner[~crystals.frac.isfinite().all(-1)]] = True
    _require_finite(broken)
    # Not read from the latents by the heads: an optimised latent lies where its head is wrong.
    return Decoded(crystals.to("cpu"), estimate(model, crystals), chosen.evaluations)


def decode_finite(
    model: TrainedModel,
    latents: Tensor,
    seeds: Sequence[int],
    sampler: SamplerSpec,
    on_level: OnLevel | None = None,
) -> tuple[list[int], Decoded | None]:
    """The rows of ``latents`` whose crystals stay finite, and these crystals (None for no row).

    No crystal depends on its batch, so the others come out as they would have in :func:`decode`.
    """
    rows = list(range(len(seeds)))
    while rows:
        try:
            chosen = [seeds[i] for i in rows]
            return rows, decode(model, latents[rows], chosen, sampler, on_level)
        except NonFiniteSampleError as error:
            rows = [row for place, row in enumerate(rows) if place not in error.indices]
    return rows, None


def _require_finite(broken: Tensor) -> None:
    """NonFiniteSampleError if any crystal is ``broken`` (B,)."""
    if broken.any():
        raise NonFiniteSampleError(broken.nonzero().squeeze(-1).tolist())


def chunks(n: int, model: TrainedModel) -> list[range]:
    """Ranges that cover ``range(n)``, each small enough to sample at once."""
    atoms = CHUNK_ATOMS_CUDA if model.device.type == "cuda" else CHUNK_ATOMS
    size = max(1, atoms // model.card["limits"]["max_atoms"])
    return [range(first, min(first + size, n)) for first in range(0, n, size)]
