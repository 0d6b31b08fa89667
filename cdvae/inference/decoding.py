"""From latents to crystals, and what the property model says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cdvae.compute import parallel_map, threads
from cdvae.diffusion.samplers.sampler import OnLevel
from cdvae.diffusion.score import score_residual_shift
from cdvae.errors import NonFiniteSampleError
from cdvae.geometry.crystal import CrystalBatch
from cdvae.inference.bucketing import Levels, bucket_by_size, pad_to_multiple
from cdvae.inference.chunks import chunks
from cdvae.inference.fixed_attributes import FixedAttributes
from cdvae.inference.initial_state import initial_state
from cdvae.inference.restarts import JUDGEMENT_SIGMA, BestOfN, RestartPolicy, SampleBatch
from cdvae.inference.sampler_plans import Kind, SamplerSpec, restart_policy
from cdvae.inference.seeds import generators
from cdvae.model_folder import TrainedModel
from cdvae.nn.encoder import Latents

BATCH_ATOMS, BATCH_ATOMS_CUDA = 640, 16384
"""Atoms in one evaluation: on CPU larger temporaries leave the caches, on GPU more fit."""


@dataclass(frozen=True)
class Decoded:
    """Crystals decoded from latents, and what the property model says of them."""

    crystals: CrystalBatch
    properties: dict[str, Tensor]  # (B,) each, in the card's units, as the property model has it
    nfe: Tensor  # (B,) that each crystal took

    def select(self, rows: Sequence[int]) -> Decoded:
        """Those of the crystals ``rows``."""
        own = list(rows)
        properties = {name: values[own] for name, values in self.properties.items()}
        return Decoded(self.crystals.select(own), properties, self.nfe[own])


@torch.no_grad()
def estimate(model: TrainedModel, crystals: CrystalBatch) -> dict[str, Tensor]:
    """(B,) of every property, in the card's units, by the model trained apart from the generator.

    Finite for every crystal whose cell has a volume, also far from the data; how well it does on
    crystals like the data is in the card, quality.property_model.
    """
    parts = [
        model.property_model.values(crystals.select(rows).to(model.device))
        for rows in chunks(len(crystals), model)
    ]
    return dict(zip(model.properties, torch.cat(parts).unbind(-1), strict=True))


@torch.no_grad()
def decode(
    model: TrainedModel,
    latents: Latents,
    seeds: Sequence[int],
    sampler: SamplerSpec,
    on_level: OnLevel | None = None,
    fixed: Sequence[FixedAttributes | None] | None = None,
) -> Decoded:
    """The crystals of ``latents``: heads give size, cell, composition; the sampler the sites.

    Args:
        model: the trained model.
        latents: of B crystals.
        seeds: one a crystal.
        sampler: which sampler, how many steps.
        on_level: called with (levels done, levels in all) after each level; may raise to stop.
        fixed: what each crystal has whatever its latent says; None: nothing.

    Raises:
        NonFiniteSampleError: coordinates or cells became NaN or infinite.
        ValueError: the sampler does not exist.
    """
    _require_finite(~latents.z.isfinite().all(-1))
    kept = [None] * len(latents) if fixed is None else list(fixed)
    sizes, atom_latents = _sizes(model, latents.z, kept), latents.num_atom_latents.tolist()
    kinds: list[Kind] = [
        "reconstructed" if n == own else "generated" if one is None else "constrained"
        for n, own, one in zip(sizes, atom_latents, kept, strict=True)
    ]
    plans = {kind: restart_policy(model, sampler, kind) for kind in set(kinds)}
    best, runs = BestOfN(len(latents)), max(plan.attempts for plan in plans.values())
    for run in range(runs):
        left = best.needs_restart([plans[kind] for kind in kinds])
        atoms = _batch_atoms(model, sum(sizes[row] for row in left))
        batches = [
            [rows[i] for i in part]
            for rows in _of_one_kind(left, kinds, kept)
            for part in bucket_by_size([sizes[row] for row in rows], atoms)
        ]
        levels = Levels(len(batches), on_level, run, runs)

        def one_run(rows: list[int], run: int = run, levels: Levels = levels) -> SampleBatch:
            return _decode_batch(
                model,
                latents.select(rows),
                [seeds[row] for row in rows],
                plans[kinds[rows[0]]],
                run,
                levels.one_more,
                [kept[row] for row in rows],
            )

        for rows, made in zip(batches, parallel_map(one_run, batches), strict=True):
            best.add(rows, made, plans[kinds[rows[0]]])
    crystals, properties = best.crystals(), best.properties()
    broken = ~crystals.lattice.flatten(1).isfinite().all(-1)
    broken[crystals.batch[~crystals.frac_coords.isfinite().all(-1)]] = True
    _require_finite(broken)
    named = dict(zip(model.properties, properties.unbind(-1), strict=True))
    return Decoded(crystals, named, best.nfe)


def _batch_atoms(model: TrainedModel, atoms: int) -> int:
    """Atoms in one batch when there are so many ``atoms``: no thread shall go without."""
    if model.device.type == "cuda":
        return BATCH_ATOMS_CUDA
    return min(BATCH_ATOMS, -(-atoms // threads()))


def _of_one_kind(
    rows: Sequence[int], kinds: Sequence[Kind], fixed: Sequence[FixedAttributes | None]
) -> list[list[int]]:
    """``rows`` that are sampled in one way.

    Of one kind; with nothing fixed, with fixed atoms (a given crystal's may be), with a group too.
    """
    found: dict[tuple[Kind, int], list[int]] = {}
    for row in rows:
        own = fixed[row]
        what = 0 if own is None else 1 if own.spacegroup is None else 2
        found.setdefault((kinds[row], what), []).append(row)
    return list(found.values())


def _sizes(model: TrainedModel, z: Tensor, fixed: Sequence[FixedAttributes | None]) -> list[int]:
    """The number of atoms of each crystal: fixed, or as the heads read it from ``z`` (B, D)."""
    read: list[int] = (
        model.network.heads.size_logits(z[pad_to_multiple(range(len(z)))]).argmax(-1).tolist()
    )
    return [n if one is None else one.num_atoms for n, one in zip(read, fixed, strict=False)]


def _decode_batch(
    model: TrainedModel,
    latents: Latents,
    seeds: Sequence[int],
    plan: RestartPolicy,
    run: int,
    on_level: OnLevel,
    fixed: Sequence[FixedAttributes | None],
) -> SampleBatch:
    """One run of each of the ``latents``, which all have one number of atoms, on the CPU.

    They have something ``fixed``, and a space group, all or none.
    """
    network, every = model.network, pad_to_multiple(range(len(latents)))
    rngs = generators([seeds[i] for i in every], f"decode {run}")
    own = [one for one in fixed if one is not None]
    start = initial_state(
        network, latents.select(every), rngs, [own[i] for i in every] if own else None
    )
    score = network.decoder.bind(start.condition)
    crystals = plan.sampler(score, start.crystals, rngs, on_level, start.symmetry)
    latent_mse = score_residual = torch.zeros(len(every))
    if plan.judged:
        latent_mse = network.latent_mse(start.condition, crystals).cpu()
        score_residual = score_residual_shift(score, crystals, JUDGEMENT_SIGMA).cpu()
    # Not read from the latents by the heads: an optimized latent lies where its head is wrong.
    properties = model.property_model.values(crystals).cpu()
    return SampleBatch(crystals.to("cpu"), properties, latent_mse, score_residual).select(
        range(len(latents))
    )


def decode_finite(
    model: TrainedModel,
    latents: Latents,
    seeds: Sequence[int],
    sampler: SamplerSpec,
    on_level: OnLevel | None = None,
    fixed: Sequence[FixedAttributes | None] | None = None,
) -> tuple[list[int], Decoded | None]:
    """The rows of ``latents`` whose crystals stay finite, and these crystals (None for no row).

    No crystal depends on its batch, so the others come out as they would have in :func:`decode`.
    """
    rows = list(range(len(seeds)))
    while rows:
        try:
            chosen = [seeds[i] for i in rows]
            kept = None if fixed is None else [fixed[i] for i in rows]
            return rows, decode(model, latents.select(rows), chosen, sampler, on_level, kept)
        except NonFiniteSampleError as error:
            rows = [row for place, row in enumerate(rows) if place not in error.indices]
    return rows, None


def _require_finite(broken: Tensor) -> None:
    """NonFiniteSampleError if any crystal is ``broken`` (B,)."""
    if broken.any():
        raise NonFiniteSampleError(broken.nonzero().squeeze(-1).tolist())
