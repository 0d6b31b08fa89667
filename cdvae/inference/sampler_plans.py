"""Samplers by name, with their default NFE and restarts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from cdvae.diffusion.noise import NoiseSchedule
from cdvae.diffusion.samplers.ancestral import Ancestral, AncestralPlan
from cdvae.diffusion.samplers.langevin import Langevin
from cdvae.inference.restarts import RestartPolicy
from cdvae.model_folder import TrainedModel

LANGEVIN_LEVELS = 50

Kind = Literal["generated", "constrained", "reconstructed"]
"""New crystals, new crystals of a fixed composition, and crystals with atom latents."""


@dataclass(frozen=True)
class SamplerSpec:
    """The name of a sampler and its maximum NFE for one crystal; None: the model's default."""

    name: str
    nfe: int | None = None


def restart_policy(model: TrainedModel, spec: SamplerSpec, kind: Kind) -> RestartPolicy:
    """Return the named sampler, with the noise levels that the model was trained for.

    ``ancestral`` makes one attempt at a new crystal and several short attempts at a given one;
    ``[sampling]`` in the settings of the model limits its NFE. ``langevin`` makes one attempt with
    LANGEVIN_LEVELS levels.

    Raises:
        ValueError: the name is unknown or the sampler does not take this NFE.
    """
    schedule = NoiseSchedule(model.config.model.sigma_max, model.config.model.sigma_min)
    settings = model.config.sampling
    if spec.name == "ancestral":
        nfe = settings.nfe if spec.nfe is None else spec.nfe
        if nfe < 1:
            raise ValueError(f"sampler ancestral takes at least 1 evaluation, not {nfe}")
        if kind == "reconstructed":
            nfe = min(nfe, settings.nfe_reconstructed)
            attempts = max(1, nfe // settings.nfe_per_attempt)
            # With several attempts, the last evaluation of each one scores it.
            plan = AncestralPlan.for_reconstruction(nfe // attempts - (attempts > 1))
            return RestartPolicy(Ancestral(schedule, plan), attempts, settings.accept_below)
        most = settings.nfe_generated if kind == "generated" else settings.nfe_constrained
        plan = AncestralPlan.for_generation(min(nfe, most))
        return RestartPolicy(Ancestral(schedule, plan), 1, settings.accept_below)
    if spec.name == "langevin":
        nfe = 100 * LANGEVIN_LEVELS if spec.nfe is None else spec.nfe
        if nfe < LANGEVIN_LEVELS or nfe % LANGEVIN_LEVELS:
            raise ValueError(f"sampler langevin takes a multiple of 50 evaluations, not {nfe}")
        return RestartPolicy(Langevin(schedule, LANGEVIN_LEVELS, nfe // LANGEVIN_LEVELS), 1, 0.0)
    raise ValueError(f"no sampler named {spec.name!r}; there are ancestral and langevin")


def max_nfe(model: TrainedModel, spec: SamplerSpec) -> int:
    """Return the maximum NFE of one crystal.

    Raises:
        ValueError: as :func:`restart_policy`.
    """
    return max(restart_policy(model, spec, kind).nfe for kind in get_args(Kind))
