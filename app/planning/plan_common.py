"""Functions that the plans of all kinds of jobs share: model cards, defaults, limits.

Plans run before anything is queued and raise ApiError for invalid requests. All but
`plan_generate` run in a parser process (`app/planning/parser_pool.py`), so their arguments and
results are plain data.
"""

import secrets
import uuid
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from app.http.bodies import quoted
from app.http.problems import ApiError, FieldError, invalid
from app.model_cards import ModelStore
from app.planning.structure_checks import formula
from cdvae_schema.base import LARGEST_SEED
from cdvae_schema.cards import ModelCard
from cdvae_schema.crystal_records import CrystalInput
from cdvae_schema.job_specs import (
    JobSpec,
    Resolved,
    ResolvedSampler,
    ResolvedTask,
    StructureSummary,
)
from cdvae_schema.requests import TaskRequest
from cdvae_service.models.local_store import LocalStore
from cdvae_service.models.store_errors import BrokenModelError, UnknownModelError


@cache
def models_in(folder: Path) -> ModelStore:
    """Return the model cards below `folder`, once per process."""
    return ModelStore(LocalStore(folder))


def find_card(models: ModelStore, reference: str | None) -> ModelCard:
    """Return the card of the requested model; 422 if it is unknown, 503 if it is broken."""
    try:
        return models.card(reference)
    except UnknownModelError as error:
        raise invalid([FieldError(detail=str(error), pointer="/model")]) from error
    except BrokenModelError as error:
        raise ApiError(503, str(error)) from error


def check_count(count: int, card: ModelCard, where: str) -> None:
    """Raise a 422 at `where` if the model does not make that many crystals per job."""
    limit = card.limits.max_num_samples
    if count > limit:
        detail = f"{where}: {count} crystals exceed the limit of {card.reference} ({limit})"
        raise invalid([FieldError(detail=detail, pointer=where)])


def resolve_common(request: TaskRequest, card: ModelCard) -> ResolvedTask:
    """Return the options that all kinds share, with defaults filled in."""
    seed = secrets.randbelow(LARGEST_SEED + 1) if request.seed is None else request.seed
    return ResolvedTask(
        model=card.reference,
        seed=seed,
        sampler=_sampler(request, card),
        priority=request.priority,
        relax=request.relax,
    )


def _sampler(request: TaskRequest, card: ModelCard) -> ResolvedSampler:
    name = request.sampler.name if request.sampler else card.default_sampler
    limits = card.samplers.get(name)
    if limits is None:
        known = ", ".join(card.samplers)
        detail = f"/sampler/name: {card.reference} has no sampler {quoted(name)}; it has: {known}"
        raise invalid([FieldError(detail=detail, pointer="/sampler/name")])
    nfe = request.sampler.nfe if request.sampler else None
    if nfe is not None and nfe > limits.max_nfe:
        detail = f"/sampler/nfe: {nfe} exceeds the limit of {name} ({limits.max_nfe})"
        raise invalid([FieldError(detail=detail, pointer="/sampler/nfe")])
    if nfe is not None and nfe % limits.multiple_of:
        detail = f"/sampler/nfe: {nfe} is not a multiple of {limits.multiple_of}, as {name} needs"
        raise invalid([FieldError(detail=detail, pointer="/sampler/nfe")])
    return ResolvedSampler(name=name, nfe=nfe or limits.default_nfe)


def summaries(crystals: list[CrystalInput]) -> list[StructureSummary]:
    """Return label, formula and size of each crystal."""
    return [
        StructureSummary(
            label=one.label, formula=formula(one.atomic_numbers), num_atoms=len(one.atomic_numbers)
        )
        for one in crystals
    ]


def job_spec(resolved: Resolved, crystals: list[CrystalInput]) -> JobSpec:
    """Return a new job for a resolved request and its input crystals."""
    return JobSpec(
        id=uuid.uuid4().hex,
        kind=resolved.kind,
        model=resolved.model,
        seed=resolved.seed,
        sampler=resolved.sampler,
        priority=resolved.priority,
        created_at=datetime.now(UTC),
        request=resolved,
        structures=crystals,
    )
