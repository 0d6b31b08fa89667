"""From a request to a `JobSpec`: the model's limits applied, every default filled in.

Everything here runs before anything is queued; what is wrong raises ApiError.
"""

import secrets
import uuid
from datetime import UTC, datetime
from typing import Literal

from app.http.bodies import quoted
from app.http.problems import ApiError, FieldError, invalid
from app.model_cards import ModelStore
from app.planning.constraint_checks import composition_faults, crystal_faults
from app.planning.objectives import read_objectives
from app.planning.structure_checks import formula
from cdvae_schema.base import LARGEST_SEED
from cdvae_schema.cards import ModelCard
from cdvae_schema.crystal_constraints import CompositionConstraints, CrystalConstraints
from cdvae_schema.crystal_records import CrystalInput
from cdvae_schema.job_specs import (
    JobSpec,
    Resolved,
    ResolvedGenerate,
    ResolvedInterpolate,
    ResolvedOptimize,
    ResolvedReconstruct,
    ResolvedTask,
    ResolvedVary,
    Sampler,
    StructureSummary,
)
from cdvae_schema.path_requests import InterpolateRequest, VaryRequest
from cdvae_schema.requests import (
    GenerateRequest,
    GivenStart,
    OptimizeRequest,
    TaskRequest,
)
from cdvae_service.models.store_errors import BrokenModelError, UnknownModelError

DEFAULT_OPTIMIZE_SAMPLES = 100


def find_card(models: ModelStore, reference: str | None) -> ModelCard:
    """The card of the requested model; 422 for an unknown one, 503 for a broken one."""
    try:
        return models.card(reference)
    except UnknownModelError as error:
        raise invalid([FieldError(detail=str(error), pointer="/model")]) from error
    except BrokenModelError as error:
        raise ApiError(503, str(error)) from error


def plan_generate(request: GenerateRequest, card: ModelCard) -> JobSpec:
    """The job for `POST /generate`."""
    faults = crystal_faults(request, card)
    if faults:
        raise invalid(faults)
    _check_count(request.num_samples, card, "/num_samples")
    understood = ResolvedGenerate(
        **_common(request, card).model_dump(),
        **{name: getattr(request, name) for name in CrystalConstraints.model_fields},
        num_samples=request.num_samples,
        callback_url=request.callback_url,
    )
    return _spec(understood, [])


def plan_reconstruct(
    request: TaskRequest, num_candidates: int, crystals: list[CrystalInput], card: ModelCard
) -> JobSpec:
    """The job for `POST /reconstruct`, whose structures have been read to `crystals`."""
    total = len(crystals) * num_candidates
    limit = card.limits.max_num_samples
    if total > limit:
        detail = (
            f"/num_candidates: {len(crystals)} structures with {num_candidates} candidates "
            f"each are {total} crystals; the limit of {card.reference} is {limit}"
        )
        raise invalid([FieldError(detail=detail, pointer="/num_candidates")])
    understood = ResolvedReconstruct(
        **_common(request, card).model_dump(),
        structures=_summaries(crystals),
        num_candidates=num_candidates,
    )
    return _spec(understood, crystals)


def plan_optimize(
    request: OptimizeRequest, prop: str | None, crystals: list[CrystalInput], card: ModelCard
) -> JobSpec:
    """The job for `POST /optimize`; `crystals` are the given start structures."""
    objectives = read_objectives(request, prop, card)
    faults = composition_faults(request, card)
    if faults:
        raise invalid(faults)
    start: Literal["dataset", "prior", "structures"]
    start = "structures" if isinstance(request.start, GivenStart) else request.start
    num_samples = request.num_samples or len(crystals) or DEFAULT_OPTIMIZE_SAMPLES
    if request.num_samples is None and not crystals:
        num_samples = min(num_samples, card.limits.max_num_samples)
    _check_count(num_samples, card, "/num_samples")
    understood = ResolvedOptimize(
        **_common(request, card).model_dump(),
        **{name: getattr(request, name) for name in CompositionConstraints.model_fields},
        property=objectives[0].property,
        direction=objectives[0].direction,
        value=objectives[0].value,
        objectives=objectives,
        num_samples=num_samples,
        start=start,
        structures=_summaries(crystals),
        steps=request.steps,
        learning_rate=request.learning_rate,
        trust_radius=request.trust_radius,
        patience=request.patience,
    )
    return _spec(understood, crystals)


def plan_interpolate(
    request: InterpolateRequest, crystals: list[CrystalInput], card: ModelCard
) -> JobSpec:
    """The job for `POST /interpolate` between `crystals`, which must be two."""
    if len(crystals) != 2:
        detail = f"/structures: two crystals are needed, not {len(crystals)}"
        raise invalid([FieldError(detail=detail, pointer="/structures")])
    _check_count(request.num_points, card, "/num_points")
    understood = ResolvedInterpolate(
        **_common(request, card).model_dump(),
        structures=_summaries(crystals),
        num_points=request.num_points,
    )
    return _spec(understood, crystals)


def plan_vary(request: VaryRequest, crystals: list[CrystalInput], card: ModelCard) -> JobSpec:
    """The job for `POST /variations` around `crystals`, which must be one."""
    if len(crystals) != 1:
        detail = f"/structure/cif: one crystal is needed, not {len(crystals)}"
        raise invalid([FieldError(detail=detail, pointer="/structure/cif")])
    _check_count(request.num_samples, card, "/num_samples")
    understood = ResolvedVary(
        **_common(request, card).model_dump(),
        structures=_summaries(crystals),
        strength=request.strength,
        num_samples=request.num_samples,
        keep_composition=request.keep_composition,
    )
    return _spec(understood, crystals)


def _check_count(count: int, card: ModelCard, where: str) -> None:
    limit = card.limits.max_num_samples
    if count > limit:
        detail = f"{where}: {count} crystals are more than {card.reference} makes ({limit})"
        raise invalid([FieldError(detail=detail, pointer=where)])


def _common(request: TaskRequest, card: ModelCard) -> ResolvedTask:
    seed = secrets.randbelow(LARGEST_SEED + 1) if request.seed is None else request.seed
    return ResolvedTask(
        model=card.reference,
        seed=seed,
        sampler=_sampler(request, card),
        priority=request.priority,
        relax=request.relax,
    )


def _sampler(request: TaskRequest, card: ModelCard) -> Sampler:
    name = request.sampler.name if request.sampler else card.default_sampler
    limits = card.samplers.get(name)
    if limits is None:
        known = ", ".join(card.samplers)
        detail = f"/sampler/name: {card.reference} has no sampler {quoted(name)}; it has: {known}"
        raise invalid([FieldError(detail=detail, pointer="/sampler/name")])
    nfe = request.sampler.nfe if request.sampler else None
    if nfe is not None and nfe > limits.max_nfe:
        detail = f"/sampler/nfe: {nfe} is above the limit of {name} ({limits.max_nfe})"
        raise invalid([FieldError(detail=detail, pointer="/sampler/nfe")])
    if nfe is not None and nfe % limits.multiple_of:
        detail = f"/sampler/nfe: {nfe} is no multiple of {limits.multiple_of}, as {name} needs"
        raise invalid([FieldError(detail=detail, pointer="/sampler/nfe")])
    return Sampler(name=name, nfe=nfe or limits.default_nfe)


def _summaries(crystals: list[CrystalInput]) -> list[StructureSummary]:
    return [
        StructureSummary(
            label=one.label, formula=formula(one.atomic_numbers), num_atoms=len(one.atomic_numbers)
        )
        for one in crystals
    ]


def _spec(understood: Resolved, crystals: list[CrystalInput]) -> JobSpec:
    return JobSpec(
        id=uuid.uuid4().hex,
        kind=understood.kind,
        model=understood.model,
        seed=understood.seed,
        sampler=understood.sampler,
        priority=understood.priority,
        created_at=datetime.now(UTC),
        request=understood,
        structures=crystals,
    )
