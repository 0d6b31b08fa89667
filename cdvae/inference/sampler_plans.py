"""The samplers by their names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from cdvae.diffusion.noise import NoiseSchedule
from cdvae.diffusion.samplers.ancestral import Ancestral, Plan
from cdvae.diffusion.samplers.langevin import Langevin
from cdvae.inference.restarts import Attempts
from cdvae.model_folder import TrainedModel

LANGEVIN_LEVELS = 50

Kind = Literal["new", "fixed", "given"]
"""A new crystal, a new one of required atoms, or one whose latent says where its atoms are."""


@dataclass(frozen=True)
class SamplerSpec:
    """A sampler by name; ``steps``: most score evaluations of a crystal, None for the default."""

    name: str
    steps: int | None = None


def plan_attempts(model: TrainedModel, spec: SamplerSpec, kind: Kind) -> Attempts:
    """The sampler of that name with the noise levels that the model was trained for.

    ``fast`` takes at most its number of steps, as the settings of the model say: one run for a new
    crystal, and for a given one short runs until one fits. ``langevin`` is one run of
    LANGEVIN_LEVELS levels.

    Raises:
        ValueError: the name is unknown or the number of steps is impossible.
    """
    schedule = NoiseSchedule(model.config.model.sigma_max, model.config.model.sigma_min)
    settings = model.config.sampling
    if spec.name == "fast":
        steps = settings.steps if spec.steps is None else spec.steps
        if steps < 1:
            raise ValueError(f"sampler fast takes at least 1 step, not {steps}")
        given = kind == "given"
        steps = min(steps, getattr(settings, kind))
        most = max(1, steps // settings.given_run) if given else 1
        # One evaluation of a run judges it, where it is compared with others (Attempts.per_run).
        plan = Plan.finding(steps // most - (most > 1)) if given else Plan.drawing(steps)
        return Attempts(Ancestral(schedule, plan), most, settings.fit)
    if spec.name == "langevin":
        steps = 100 * LANGEVIN_LEVELS if spec.steps is None else spec.steps
        if steps < LANGEVIN_LEVELS or steps % LANGEVIN_LEVELS:
            raise ValueError(f"sampler langevin takes a multiple of 50 steps, not {steps}")
        return Attempts(Langevin(schedule, LANGEVIN_LEVELS, steps // LANGEVIN_LEVELS), 1, 0.0)
    raise ValueError(f"no sampler named {spec.name!r}; there are fast and langevin")


def score_evaluations(model: TrainedModel, spec: SamplerSpec) -> int:
    """The most score evaluations that a crystal can take; ValueError like plan_attempts."""
    return max(plan_attempts(model, spec, kind).evaluations for kind in get_args(Kind))
