"""Plan jobs for `POST /reconstruct`: a JSON body, or a raw CIF with options in the query."""

from dataclasses import dataclass
from pathlib import Path

from app.http.bodies import CIF, decode, parse_json
from app.http.problems import FieldError, invalid
from app.planning.plan_common import (
    find_card,
    job_spec,
    models_in,
    resolve_common,
    summaries,
)
from app.planning.structure_inputs import read_cif_body, read_structures
from cdvae_schema.cards import ModelCard
from cdvae_schema.crystal_records import CrystalInput
from cdvae_schema.job_specs import JobSpec, ResolvedReconstruct
from cdvae_schema.requests import Priority, ReconstructRequest, SamplerChoice, TaskRequest


@dataclass(frozen=True)
class CifOptions:
    """Query parameters of a raw CIF body; a JSON body has these fields itself."""

    model: str | None
    num_candidates: int
    seed: int | None
    sampler: str | None
    nfe: int | None
    priority: Priority
    relax: bool
    present: tuple[str, ...]  # names of the parameters in the query


def plan_reconstruct(folder: Path, body: bytes, kind: str, options: CifOptions) -> JobSpec:
    """Return the job for a body of media type `kind`; `folder` holds the models."""
    if kind == CIF:
        return _plan_cif(folder, body, options)
    if options.present:
        name = options.present[0]
        detail = f"Send `{name}` in the JSON body, not in the query"
        raise invalid([FieldError(detail=detail, parameter=name)])
    request = parse_json(ReconstructRequest, body)
    card = find_card(models_in(folder), request.model)
    crystals = read_structures(request.structures, card, ("structures",))
    return _plan(request, request.num_candidates, crystals, card)


def _plan_cif(folder: Path, body: bytes, options: CifOptions) -> JobSpec:
    if options.nfe is not None and options.sampler is None:
        raise invalid([FieldError(detail="nfe: it needs a sampler", parameter="nfe")])
    name = options.sampler
    sampler = SamplerChoice(name=name, nfe=options.nfe) if name is not None else None
    text = decode(body)
    card = find_card(models_in(folder), options.model)
    crystals = read_cif_body(text, card)
    request = TaskRequest(
        model=options.model,
        seed=options.seed,
        sampler=sampler,
        priority=options.priority,
        relax=options.relax,
    )
    return _plan(request, options.num_candidates, crystals, card)


def _plan(
    request: TaskRequest, num_candidates: int, crystals: list[CrystalInput], card: ModelCard
) -> JobSpec:
    total = len(crystals) * num_candidates
    limit = card.limits.max_num_samples
    if total > limit:
        detail = (
            f"/num_candidates: {len(crystals)} structures with {num_candidates} candidates "
            f"each are {total} crystals; the limit of {card.reference} is {limit}"
        )
        raise invalid([FieldError(detail=detail, pointer="/num_candidates")])
    resolved = ResolvedReconstruct(
        **resolve_common(request, card).model_dump(),
        structures=summaries(crystals),
        num_candidates=num_candidates,
    )
    return job_spec(resolved, crystals)
