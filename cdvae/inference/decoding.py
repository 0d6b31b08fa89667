"""Decoding of latents into crystals, with the predictions of the property model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

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
"""Atoms in one evaluation: the temporaries of more atoms would not fit the caches of a CPU."""


@dataclass(frozen=True)
class Decoded:
    """Crystals decoded from latents, and the predictions of the property model."""

    crystals: CrystalBatch
    properties: dict[str, Tensor]  # (B,) each, in the card's units
    nfe: Tensor  # (B,) network evaluations of each crystal

    def select(self, rows: Sequence[int]) -> Decoded:
        """Return the crystals ``rows``."""
        index = list(rows)
        properties = {name: values[index] for name, values in self.properties.items()}
        return Decoded(self.crystals.select(index), properties, self.nfe[index])


@torch.no_grad()
def estimate(model: TrainedModel, crystals: CrystalBatch) -> dict[str, Tensor]:
    """Return every property (B,), in the card's units, from the property model.

    The values are finite for every crystal whose cell has a volume, even far from the data. The
    card states the errors for crystals like the data (``quality.property_model``).
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
    """Return the crystals of ``latents``.

    The heads predict size, cell and composition; the sampler finds the positions of the atoms.

    Args:
        model: the trained model.
        latents: of B crystals.
        seeds: one for each crystal.
        sampler: the sampler and its NFE.
        on_level: called with (levels done, levels in total) after each level; may raise to stop.
        fixed: the attributes of each crystal that the heads do not predict; None: there are none.

    Raises:
        NonFiniteSampleError: a coordinate or cell is NaN or infinite.
        ValueError: the sampler does not exist or does not take this NFE.
    """
    _require_finite(~latents.z.isfinite().all(-1))
    inputs = DecodeInputs.of(model, latents, seeds, sampler, fixed)
    best, attempts = BestOfN(len(latents)), max(policy.attempts for policy in inputs.policies)
    for attempt in range(attempts):
        batches = plan_batches(inputs, best.needs_restart(inputs.policies), model)
        levels = Levels(len(batches), on_level, attempt, attempts)
        run = partial(_run_batch, model, inputs, attempt, levels.one_more)
        for rows, samples in zip(batches, parallel_map(run, batches), strict=True):
            best.add(rows, samples, inputs.policies[rows[0]])
    crystals, properties = best.crystals(), best.properties()
    broken = ~crystals.lattice.flatten(1).isfinite().all(-1)
    broken[crystals.batch[~crystals.frac_coords.isfinite().all(-1)]] = True
    _require_finite(broken)
    named = dict(zip(model.properties, properties.unbind(-1), strict=True))
    return Decoded(crystals, named, best.nfe)


@dataclass(frozen=True)
class DecodeInputs:
    """The inputs of a decoding of B crystals, and the policy that samples each of them."""

    latents: Latents
    seeds: Sequence[int]
    fixed: Sequence[FixedAttributes | None]
    num_atoms: list[int]
    kinds: list[Kind]
    policies: list[RestartPolicy]

    @staticmethod
    def of(
        model: TrainedModel,
        latents: Latents,
        seeds: Sequence[int],
        sampler: SamplerSpec,
        fixed: Sequence[FixedAttributes | None] | None,
    ) -> DecodeInputs:
        """Return the inputs with the size, the kind and the policy of each crystal."""
        attributes = [None] * len(latents) if fixed is None else list(fixed)
        num_atoms = _num_atoms(model, latents.z, attributes)
        kinds: list[Kind] = [
            "reconstructed" if n == num_latents else "generated" if one is None else "constrained"
            for n, num_latents, one in zip(
                num_atoms, latents.num_atom_latents.tolist(), attributes, strict=True
            )
        ]
        policies = {kind: restart_policy(model, sampler, kind) for kind in set(kinds)}
        return DecodeInputs(
            latents, seeds, attributes, num_atoms, kinds, [policies[kind] for kind in kinds]
        )

    def batch_key(self, row: int) -> tuple[Kind, bool, bool]:
        """Return the key of a batch: kind, and whether composition and space group are fixed."""
        one = self.fixed[row]
        return self.kinds[row], one is not None, one is not None and one.spacegroup is not None


def plan_batches(inputs: DecodeInputs, rows: Sequence[int], model: TrainedModel) -> list[list[int]]:
    """Return ``rows`` in batches of crystals with equal size and equal key."""
    atoms = _batch_atoms(model, sum(inputs.num_atoms[row] for row in rows))
    groups: dict[tuple[Kind, bool, bool], list[int]] = {}
    for row in rows:
        groups.setdefault(inputs.batch_key(row), []).append(row)
    return [
        [group[i] for i in bucket]
        for group in groups.values()
        for bucket in bucket_by_size([inputs.num_atoms[row] for row in group], atoms)
    ]


def _batch_atoms(model: TrainedModel, atoms: int) -> int:
    """Return the number of atoms in a batch so that every thread gets one of the ``atoms``."""
    if model.device.type == "cuda":
        return BATCH_ATOMS_CUDA
    return min(BATCH_ATOMS, -(-atoms // threads()))


def _num_atoms(
    model: TrainedModel, z: Tensor, fixed: Sequence[FixedAttributes | None]
) -> list[int]:
    """Return the number of atoms of each crystal: fixed, or read from ``z`` by the heads."""
    read: list[int] = (
        model.network.heads.size_logits(z[pad_to_multiple(range(len(z)))]).argmax(-1).tolist()
    )
    return [n if one is None else one.num_atoms for n, one in zip(read, fixed, strict=False)]


def _run_batch(
    model: TrainedModel, inputs: DecodeInputs, attempt: int, on_level: OnLevel, rows: list[int]
) -> SampleBatch:
    """Return one attempt at the crystals ``rows``, which are a batch of :func:`plan_batches`."""
    network, policy = model.network, inputs.policies[rows[0]]
    padded = pad_to_multiple(rows)
    rngs = generators([inputs.seeds[row] for row in padded], f"decode {attempt}")
    fixed = [one for row in padded if (one := inputs.fixed[row]) is not None]
    start = initial_state(network, inputs.latents.select(padded), rngs, fixed or None)
    score = network.decoder.bind(start.condition)
    crystals = policy.sampler(score, start.crystals, rngs, on_level, start.symmetry)
    latent_mse = score_residual = torch.zeros(len(padded))
    if policy.judged:
        latent_mse = network.latent_mse(start.condition, crystals).cpu()
        score_residual = score_residual_shift(score, crystals, JUDGEMENT_SIGMA).cpu()
    # The property model rather than the head, which is wrong at an optimized latent.
    properties = model.property_model.values(crystals).cpu()
    return SampleBatch(crystals.to("cpu"), properties, latent_mse, score_residual).select(
        range(len(rows))
    )


def decode_finite(
    model: TrainedModel,
    latents: Latents,
    seeds: Sequence[int],
    sampler: SamplerSpec,
    on_level: OnLevel | None = None,
    fixed: Sequence[FixedAttributes | None] | None = None,
) -> tuple[list[int], Decoded | None]:
    """Return the rows of ``latents`` with finite crystals, and these crystals.

    The crystals are None if there is no such row. They are those of :func:`decode`, because no
    crystal depends on its batch.
    """
    rows = list(range(len(seeds)))
    while rows:
        try:
            chosen = latents.select(rows), [seeds[i] for i in rows]
            attributes = None if fixed is None else [fixed[i] for i in rows]
            return rows, decode(model, *chosen, sampler, on_level, attributes)
        except NonFiniteSampleError as error:
            rows = [row for place, row in enumerate(rows) if place not in error.indices]
    return rows, None


def _require_finite(broken: Tensor) -> None:
    """Raise NonFiniteSampleError if any crystal is ``broken`` (B,)."""
    if broken.any():
        raise NonFiniteSampleError(broken.nonzero().squeeze(-1).tolist())
