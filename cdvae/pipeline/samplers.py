"""The samplers by their names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from cdvae.crystal import CrystalBatch
from cdvae.noise import NoiseSchedule
from cdvae.sampling.ancestral import Ancestral, Plan
from cdvae.sampling.best_of import BestOf
from cdvae.sampling.langevin import Langevin
from cdvae.sampling.protocol import Sampler
from cdvae.trained import TrainedModel

FAST_STEPS = 100
LANGEVIN_LEVELS = 50


@dataclass(frozen=True)
class SamplerSpec:
    """A sampler by name; ``steps`` is its number of score evaluations, None for the default."""

    name: str
    steps: int | None = None


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
