"""The tasks of the model, end to end: seeds or crystals or latents in, crystals out.

Every random number of crystal i comes from generators seeded by its own seed, so the crystal does
not depend on its batch, on chunk sizes or on what was sampled before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from cdvae.batches import Levels, filled, of_one_size, ranges
from cdvae.compute import spread, threads
from cdvae.crystal import CrystalBatch
from cdvae.errors import NonFiniteSampleError
from cdvae.model.encoder import Latents, Posterior
from cdvae.noise import NoiseSchedule
from cdvae.sampling.ancestral import Ancestral, Plan
from cdvae.sampling.attempts import Attempts, Best, Made
from cdvae.sampling.langevin import Langevin
from cdvae.sampling.protocol import OnLevel
from cdvae.sampling.start import begin, read_counts
from cdvae.trained import TrainedModel

FAST_STEPS = 50
LANGEVIN_LEVELS = 50
PRIOR_DRAWS = 10
CHUNK_CRYSTALS, CHUNK_CRYSTALS_CUDA = 64, 1024
"""Crystals that are decoded, checked and stored together."""
BATCH_ATOMS, BATCH_ATOMS_CUDA = 640, 16384
"""Atoms in one evaluation: on CPU larger temporaries leave the caches, on GPU more fit."""
PRIOR_ROWS = 32
"""Latents that a thread draws together."""


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
    score_evaluations: Tensor  # (B,) that each crystal took

    def select(self, rows: Sequence[int]) -> Decoded:
        """Those of the crystals ``rows``."""
        own = list(rows)
        properties = {name: values[own] for name, values in self.properties.items()}
        return Decoded(self.crystals.select(own), properties, self.score_evaluations[own])


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
) -> Latents:
    """Latents for new crystals, from the learned prior or from N(0, I).

    The learned prior draws a composition and then z for it; a z that the composition head reads
    otherwise is drawn again, up to PRIOR_DRAWS times.
    """
    if prior == "normal":
        return Latents.of(_normal(seeds, model, "latent 0"))
    parts = ranges(len(seeds), PRIOR_ROWS)
    drawn = spread(lambda part: _draw(model, [seeds[i] for i in part]), parts)
    return Latents.of(torch.cat(drawn))


def _draw(model: TrainedModel, seeds: Sequence[int]) -> Tensor:
    """(B, D) latents of the learned prior."""
    every = filled(range(len(seeds)))
    rngs = _generators([seeds[i] for i in every], "composition")
    uniform = torch.stack([torch.rand(model.prior.composition.draws, generator=r) for r in rngs])
    counts = model.prior.composition.sample(uniform.to(model.device))
    latents = counts.new_empty(len(every), model.config.model.latent_dim)
    pending = every
    for attempt in range(PRIOR_DRAWS):
        noise = _normal([seeds[i] for i in pending], model, f"latent {attempt}")
        latents[pending] = model.prior.transport(noise, counts[pending])
        agrees = (read_counts(model.network.heads, latents[pending]) == counts[pending]).all(-1)
        left = sorted({i for i, fine in zip(pending, agrees.tolist(), strict=True) if not fine})
        if not left:
            break
        pending = filled(left)
    return latents[: len(seeds)]


@torch.no_grad()
def encode(model: TrainedModel, crystals: CrystalBatch) -> Posterior:
    """The posterior of each crystal, encoded chunk by chunk."""
    rows = chunks(len(crystals), model)
    parts = [model.network.encode(crystals.select(r).to(model.device)) for r in rows]
    return Posterior.cat(parts)


@torch.no_grad()
def sample_posterior(
    model: TrainedModel, posterior: Posterior, seeds: Sequence[int], width: Tensor | None = None
) -> Latents:
    """One draw from each posterior, ``width`` (B,) times as wide: 1 if None, 0 for its mean."""
    width = torch.ones(len(seeds), device=model.device) if width is None else width.to(model.device)
    z, codes, sizes = posterior.z, posterior.codes, posterior.n_atoms.tolist()
    rngs = zip(sizes, _generators(seeds, "codes of the posterior"), strict=True)
    noise = torch.cat([torch.randn(n, codes.mean.shape[1], generator=rng) for n, rng in rngs])
    spread = (0.5 * z.logvar).exp() * width[:, None]
    spreads = (0.5 * codes.logvar).exp() * width.repeat_interleave(posterior.n_atoms)[:, None]
    return Latents(
        z.mean + spread * _normal(seeds, model, "posterior"),
        codes.mean + spreads * noise.to(codes.mean),
        posterior.n_atoms,
    )


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


def plan_attempts(model: TrainedModel, spec: SamplerSpec, *, given: bool) -> Attempts:
    """The sampler of that name with the noise levels that the model was trained for.

    ``fast`` takes at most its number of steps, as the settings of the model say: one run for a new
    crystal, and for a ``given`` one, of which the latent says exactly where its atoms are, short
    runs until one fits. ``langevin`` is one run of LANGEVIN_LEVELS levels.

    Raises:
        ValueError: the name is unknown or the number of steps is impossible.
    """
    schedule = NoiseSchedule(model.config.model.sigma_max, model.config.model.sigma_min)
    settings = model.config.sampling
    if spec.name == "fast":
        steps = FAST_STEPS if spec.steps is None else spec.steps
        if steps < 1:
            raise ValueError(f"sampler fast takes at least 1 step, not {steps}")
        steps = steps if given else min(steps, settings.new)
        most = max(1, steps // settings.given_run) if given else 1
        return Attempts(Ancestral(schedule, Plan.of(steps // most)), most, settings.fit)
    if spec.name == "langevin":
        steps = 100 * LANGEVIN_LEVELS if spec.steps is None else spec.steps
        if steps < LANGEVIN_LEVELS or steps % LANGEVIN_LEVELS:
            raise ValueError(f"sampler langevin takes a multiple of 50 steps, not {steps}")
        return Attempts(Langevin(schedule, LANGEVIN_LEVELS, steps // LANGEVIN_LEVELS), 1, 0.0)
    raise ValueError(f"no sampler named {spec.name!r}; there are fast and langevin")


def score_evaluations(model: TrainedModel, spec: SamplerSpec) -> int:
    """The most score evaluations that a crystal can take; ValueError like plan_attempts."""
    return max(plan_attempts(model, spec, given=given).evaluations for given in (False, True))


@torch.no_grad()
def decode(
    model: TrainedModel,
    latents: Latents,
    seeds: Sequence[int],
    sampler: SamplerSpec,
    on_level: OnLevel | None = None,
) -> Decoded:
    """The crystals of ``latents``: heads give size, cell, composition; the sampler the sites.

    Args:
        model: the trained model.
        latents: of B crystals.
        seeds: one a crystal.
        sampler: which sampler, how many steps.
        on_level: called with (levels done, levels in all) after each level; may raise to stop.

    Raises:
        NonFiniteSampleError: coordinates or cells became NaN or infinite.
        ValueError: the sampler does not exist.
    """
    _require_finite(~latents.z.isfinite().all(-1))
    plans = [plan_attempts(model, sampler, given=given) for given in (False, True)]
    sizes, codes = _sizes(model, latents.z), latents.n_codes.tolist()
    plan_of = [plans[n == own] for n, own in zip(sizes, codes, strict=True)]
    best, runs = Best(len(latents)), max(plan.most for plan in plan_of)
    for run in range(runs):
        left = [best.unfit(p, [i for i, own in enumerate(plan_of) if own is p]) for p in plans]
        atoms = _batch_atoms(model, sum(sizes[row] for rows in left for row in rows))
        batches = [
            [rows[i] for i in part]
            for rows in left
            for part in of_one_size([sizes[row] for row in rows], atoms)
        ]
        levels = Levels(len(batches), on_level, run, runs)

        def one(rows: list[int], run: int = run, levels: Levels = levels) -> Made:
            own, plan = [seeds[row] for row in rows], plan_of[rows[0]]
            return _decode_batch(model, latents.select(rows), own, plan, run, levels.one_more)

        for rows, made in zip(batches, spread(one, batches), strict=True):
            best.add(rows, made, plan_of[rows[0]].sampler.evaluations)
    crystals, properties = best.crystals(), best.properties()
    broken = ~crystals.lattice.flatten(1).isfinite().all(-1)
    broken[crystals.owner[~crystals.frac.isfinite().all(-1)]] = True
    _require_finite(broken)
    named = dict(zip(model.properties, properties.unbind(-1), strict=True))
    return Decoded(crystals, named, best.evaluations)


def _batch_atoms(model: TrainedModel, atoms: int) -> int:
    """Atoms in one batch when there are so many ``atoms``: no thread shall go without."""
    if model.device.type == "cuda":
        return BATCH_ATOMS_CUDA
    return min(BATCH_ATOMS, -(-atoms // threads()))


def _sizes(model: TrainedModel, z: Tensor) -> list[int]:
    """The number of atoms of each crystal, as the heads read it from ``z`` (B, D)."""
    every = filled(range(len(z)))
    sizes: list[int] = model.network.heads.size_logits(z[every]).argmax(-1).tolist()
    return sizes[: len(z)]


def _decode_batch(
    model: TrainedModel,
    latents: Latents,
    seeds: Sequence[int],
    plan: Attempts,
    run: int,
    on_level: OnLevel,
) -> Made:
    """One run of each of the ``latents``, which all have one number of atoms, on the CPU."""
    network, every = model.network, filled(range(len(latents)))
    rngs = _generators([seeds[i] for i in every], f"decode {run}")
    start, condition = begin(network, latents.select(every), rngs)
    crystals = plan.sampler(network.decoder.bind(condition), start, rngs, on_level)
    alone = plan.most == 1  # and no other to compare it with
    misfit = torch.zeros(len(every)) if alone else network.misfit(condition, crystals).cpu()
    # Not read from the latents by the heads: an optimised latent lies where its head is wrong.
    properties = model.estimator.values(crystals).cpu()
    return Made(crystals.to("cpu"), properties, misfit).select(range(len(latents)))


def decode_finite(
    model: TrainedModel,
    latents: Latents,
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
            return rows, decode(model, latents.select(rows), chosen, sampler, on_level)
        except NonFiniteSampleError as error:
            rows = [row for place, row in enumerate(rows) if place not in error.indices]
    return rows, None


def _require_finite(broken: Tensor) -> None:
    """NonFiniteSampleError if any crystal is ``broken`` (B,)."""
    if broken.any():
        raise NonFiniteSampleError(broken.nonzero().squeeze(-1).tolist())


def chunks(n: int, model: TrainedModel) -> list[range]:
    """Ranges that cover ``range(n)``, each of as many crystals as are decoded in one call."""
    return ranges(n, CHUNK_CRYSTALS_CUDA if model.device.type == "cuda" else CHUNK_CRYSTALS)
