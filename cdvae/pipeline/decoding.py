"""From latents to crystals, and what the estimator says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cdvae.batches import Levels, filled, of_one_size
from cdvae.compute import spread
from cdvae.crystal import CrystalBatch
from cdvae.errors import NonFiniteSampleError
from cdvae.model.encoder import Latents
from cdvae.pipeline.chunks import chunks
from cdvae.pipeline.samplers import SamplerSpec, build_sampler
from cdvae.pipeline.seeds import generators
from cdvae.sampling.fixed import Fixed
from cdvae.sampling.protocol import OnLevel
from cdvae.sampling.start import begin
from cdvae.trained import TrainedModel

BATCH_ATOMS, BATCH_ATOMS_CUDA = 640, 16384
"""Atoms in one evaluation: on CPU larger temporaries leave the caches, on GPU more fit."""


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


@torch.no_grad()
def decode(
    model: TrainedModel,
    latents: Latents,
    seeds: Sequence[int],
    sampler: SamplerSpec,
    on_level: OnLevel | None = None,
    fixed: Sequence[Fixed | None] | None = None,
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
    copies = build_sampler(model, sampler, lambda crystals: crystals.volume).copies
    atoms = BATCH_ATOMS_CUDA if model.device.type == "cuda" else BATCH_ATOMS
    kept = [None] * len(latents) if fixed is None else list(fixed)
    batches = [
        [rows[i] for i in part]
        for rows in _of_one_kind(kept)
        for part in of_one_size(_sizes(model, latents.z, kept, rows), copies, atoms)
    ]
    levels = Levels(len(batches), on_level)

    def one(rows: list[int]) -> Decoded:
        chosen = [seeds[row] for row in rows]
        own = [kept[row] for row in rows]
        return _decode_batch(model, latents.select(rows), chosen, sampler, levels.one_more, own)

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


def _of_one_kind(fixed: Sequence[Fixed | None]) -> list[list[int]]:
    """Rows with nothing fixed, with fixed atoms, with a space group too: they begin differently."""
    kinds: dict[int, list[int]] = {}
    for row, one in enumerate(fixed):
        kind = 0 if one is None else 1 if one.spacegroup is None else 2
        kinds.setdefault(kind, []).append(row)
    return list(kinds.values())


def _sizes(
    model: TrainedModel, z: Tensor, fixed: Sequence[Fixed | None], rows: Sequence[int]
) -> list[int]:
    """The number of atoms of the crystals ``rows``: fixed, or as the heads read it from ``z``."""
    own = [one.n_atoms for row in rows if (one := fixed[row]) is not None]
    if own:
        return own
    sizes: list[int] = model.network.heads.size_logits(z[filled(rows)]).argmax(-1).tolist()
    return sizes[: len(rows)]


def _decode_batch(
    model: TrainedModel,
    latents: Latents,
    seeds: Sequence[int],
    sampler: SamplerSpec,
    on_level: OnLevel,
    fixed: Sequence[Fixed | None],
) -> Decoded:
    """The crystals of ``latents``, which all have one number of atoms, on the CPU.

    They have something ``fixed``, and a space group, all or none.
    """
    network, number = model.network, len(latents)
    every = filled(range(number))
    rngs = generators([seeds[i] for i in every], "decode")
    own = [one for one in fixed if one is not None]
    start = begin(network, latents.select(every), rngs, [own[i] for i in every] if own else None)

    def misfit(crystals: CrystalBatch) -> Tensor:
        return network.misfit(copied, crystals)

    chosen = build_sampler(model, sampler, misfit)
    live = filled(range(number), chosen.copies)
    start = start.select(live)
    copied = start.condition.repeat(chosen.copies)
    score = network.decoder.bind(copied)
    crystals = chosen(score, start.crystals, rngs[: len(live)], on_level, start.symmetry)
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
    fixed: Sequence[Fixed | None] | None = None,
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
