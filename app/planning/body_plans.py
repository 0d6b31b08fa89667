"""From a body to a `JobSpec`, for each kind of job.

All but the first run in a process of their own (`app/planning/parser_pool.py`), so that their
arguments and results are plain data.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from app.http.bodies import CIF, decode, parse_json
from app.http.problems import FieldError, invalid
from app.model_cards import ModelStore
from app.planning.job_planning import (
    find_card,
    plan_generate,
    plan_interpolate,
    plan_optimize,
    plan_reconstruct,
    plan_vary,
)
from app.planning.structure_inputs import read_cif_body, read_one, read_structures
from cdvae_schema.job_specs import JobSpec
from cdvae_schema.path_requests import InterpolateRequest, VaryRequest
from cdvae_schema.requests import (
    GenerateRequest,
    GivenStart,
    OptimizeRequest,
    Priority,
    ReconstructRequest,
    SamplerChoice,
    TaskRequest,
)
from cdvae_service.models.local_store import LocalStore


@dataclass(frozen=True)
class CifOptions:
    """The query parameters that stand beside a raw CIF; a JSON body has these fields itself."""

    model: str | None
    num_candidates: int
    seed: int | None
    sampler: str | None
    nfe: int | None
    priority: Priority
    relax: bool
    given: tuple[str, ...]  # names of those that are in the query


@cache
def _models(folder: Path) -> ModelStore:
    return ModelStore(LocalStore(folder))


def generate(models: ModelStore, wanted: GenerateRequest) -> JobSpec:
    """The job for `POST /generate`."""
    return plan_generate(wanted, find_card(models, wanted.model))


def reconstruct(folder: Path, body: bytes, kind: str, options: CifOptions) -> JobSpec:
    """The job for `POST /reconstruct`, whose body is of this media type; models lie in `folder`."""
    models = _models(folder)
    if kind == CIF:
        if options.nfe is not None and options.sampler is None:
            raise invalid([FieldError(detail="nfe needs a sampler", parameter="nfe")])
        sampler = options.sampler
        choice = SamplerChoice(name=sampler, nfe=options.nfe) if sampler is not None else None
        text = decode(body)
        card = find_card(models, options.model)
        crystals = read_cif_body(text, card)
        common = TaskRequest(
            model=options.model,
            seed=options.seed,
            sampler=choice,
            priority=options.priority,
            relax=options.relax,
        )
        return plan_reconstruct(common, options.num_candidates, crystals, card)
    if options.given:
        name = options.given[0]
        detail = f"{name}: with a JSON body this belongs into the body"
        raise invalid([FieldError(detail=detail, parameter=name)])
    wanted = parse_json(ReconstructRequest, body)
    card = find_card(models, wanted.model)
    crystals = read_structures(wanted.structures, card, ("structures",))
    return plan_reconstruct(wanted, wanted.num_candidates, crystals, card)


def optimize(folder: Path, body: bytes, prop: str | None) -> JobSpec:
    """The job for `POST /optimize`; models lie in `folder`."""
    wanted = parse_json(OptimizeRequest, body)
    card = find_card(_models(folder), wanted.model)
    given = wanted.start.structures if isinstance(wanted.start, GivenStart) else []
    crystals = read_structures(given, card, ("start", "structures"))
    return plan_optimize(wanted, prop, crystals, card)


def interpolate(folder: Path, body: bytes) -> JobSpec:
    """The job for `POST /interpolate`; models lie in `folder`."""
    wanted = parse_json(InterpolateRequest, body)
    card = find_card(_models(folder), wanted.model)
    return plan_interpolate(wanted, read_structures(wanted.structures, card, ("structures",)), card)


def vary(folder: Path, body: bytes) -> JobSpec:
    """The job for `POST /variations`; models lie in `folder`."""
    wanted = parse_json(VaryRequest, body)
    card = find_card(_models(folder), wanted.model)
    return plan_vary(wanted, read_one(wanted.structure, card, ("structure",)), card)
