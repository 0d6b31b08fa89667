"""The tasks of the model, end to end: seeds or crystals or latents in, crystals out.

Every random number of crystal i comes from generators seeded by its own seed, so the crystal does
not depend on its batch, on chunk sizes or on what was sampled before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from cdvae.batches import Levels, filled, of_one_size, ranges
from cdvae.compute import spread
from cdvae.crystal import CrystalBatch
from cdvae.errors import NonFiniteSampleError
from cdvae.model.encoder import Latents, Posterior
from cdvae.noise import NoiseSchedule
from cdvae.sampling.ancestral import Ancestral, Plan
from cdvae.sampling.best_of import BestOf
from cdvae.sampling.langevin import Langevin
from cdvae.sampling.protocol import OnLevel, Sampler
from cdvae.sampling.start import begin, read_counts
from cdvae.trained import TrainedModel

FAST_STEPS = 100
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
    score_evaluations: int  # of each crystal

    def select(self, rows: Sequence[int]) -> Decoded:
        """Those of the crystals ``rows``."""
        own = list(rows)
        properties = {name: values[own] for name, values in self.properties.items()}
        return Decoded(self.crystals.select(own), properties, self.score_evaluations)


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


def build_sampler(
    model: TrainedModel, spec: SamplerSpec, misfit: Callable[[CrystalBatch], Tensor]
) -> Sampler:
    """The sampler of that name with the noise levels that the model was trained for.

    ``fast`` divides its steps among runs of about as many as the settings of the model say and
    keeps the run whose crystal has the least ``misfit``; ``langevin`` is one run of
    LANGEVIN_LEVELS levels.

    Raises:
        ValueError: the name is unknown or the number of steps is impossible.
    """
    schedule = NoiseSchedule(model.config.model.sigma_max, model.config.model.sigma_min)
    if spec.name == "fast":
        steps = FAST_STEPS if spec.steps is None else spec.steps
        if steps < 1:
            raise ValueError(f"sampler fast takes at least 1 step, not {steps}")
        runs = max(1, round(steps / model.config.sampling.run))
        return BestOf(Ancestral(schedule, Plan.of(steps // runs)), runs, misfit)
    if spec.name == "langevin":
        steps = 100 * LANGEVIN_LEVELS if spec.steps is None else spec.steps
        if steps < LANGEVIN_LEVELS or steps % LANGEVIN_LEVELS:
            raise ValueError(f"sampler langevin takes a multiple of 50 steps, not {steps}")
        return Langevin(schedule, LANGEVIN_LEVELS, steps // LANGEVIN_LEVELS)
    raise ValueError(f"no sampler named {spec.name!r}; there are fast and langevin")


def score_evaluations(model: TrainedModel, spec: SamplerSpec) -> int:
    """How often that sampler evaluates the score of each crystal; ValueError like build_sampler."""
    return build_sampler(model, spec, lambda crystals: crystals.volume).evaluations


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
    copies = build_sampler(model, sampler, lambda crystals: crystals.volume).copies
    atoms = BATCH_ATOMS_CUDA if model.device.type == "cuda" else BATCH_ATOMS
    batches = of_one_size(_sizes(model, latents.z), copies, atoms)
    levels = Levels(len(batches), on_level)

    def one(rows: list[int]) -> Decoded:
        chosen = [seeds[row] for row in rows]
        return _decode_batch(model, latents.select(rows), chosen, sampler, levels.one_more)

    parts = spread(one, batches)
    order = torch.tensor([row for rows in batches for row in rows]).argsort()
    crystals = CrystalBatch.cat([part.crystals for part in parts]).select(order)
    broken = ~crystals.lattice.flatten(1).isfinite().all(-1)
    broken[crystals.owner[~crystals.frac.isfinite().all(-1)]] = True
    _require_finite(broken)
    properties = {
        name: torch.cat([part.properties[name] for part in parts])[order]
        for name in model.properties
    }
    return Decoded(crystals, properties, parts[0].score_evaluations)


def _sizes(model: TrainedModel, z: Tensor) -> list[int]:
    """The number of atoms of each crystal, as the heads read it from ``z`` (B, D)."""
    every = filled(range(len(z)))
    sizes: list[int] = model.network.heads.size_logits(z[every]).argmax(-1).tolist()
    return sizes[: len(z)]


def _decode_batch(
    model: TrainedModel,
    latents: Latents,
    seeds: Sequence[int],
    sampler: SamplerSpec,
    on_level: OnLevel,
) -> Decoded:
    """The crystals of ``latents``, which all have one number of atoms, on the CPU."""
    network, number = model.network, len(latents)
    every = filled(range(number))
    rngs = _generators([seeds[i] for i in every], "decode")
    start, condition = begin(network, latents.select(every), rngs)

    def misfit(crystals: CrystalBatch) -> Tensor:
        return network.misfit(copied, crystals)

    chosen = build_sampler(model, sampler, misfit)
    live = filled(range(number), chosen.copies)
    copied = condition.select(live).repeat(chosen.copies)
    score = network.decoder.bind(copied)
    crystals = chosen(score, start.select(live), rngs[: len(live)], on_level)
    # Not read from the latents by the heads: an optimised latent lies where its head is wrong.
    values = model.estimator.values(crystals.select(filled(live)))[:number]
    properties = dict(zip(model.properties, values.cpu().unbind(-1), strict=True))
    return Decoded(crystals.select(range(number)).to("cpu"), properties, chosen.evaluations)


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
