"""Plan jobs for `POST /optimize`."""

from pathlib import Path
from typing import Literal

from app.http.bodies import parse_json, quoted
from app.http.problems import FieldError, invalid, pointer
from app.planning.constraint_checks import composition_faults
from app.planning.plan_common import (
    check_count,
    find_card,
    job_spec,
    models_in,
    resolve_common,
    summaries,
)
from app.planning.structure_inputs import read_structures
from cdvae_schema.cards import ModelCard
from cdvae_schema.crystal_constraints import CompositionConstraints
from cdvae_schema.crystal_records import CrystalInput
from cdvae_schema.job_specs import JobSpec, ResolvedOptimize
from cdvae_schema.requests import GivenStart, Objective, OptimizeRequest

DEFAULT_OPTIMIZE_SAMPLES = 100


def plan_optimize(folder: Path, body: bytes, prop: str | None) -> JobSpec:
    """Return the job for a JSON body; `prop` is the property in the query, if any."""
    request = parse_json(OptimizeRequest, body)
    card = find_card(models_in(folder), request.model)
    inputs = request.start.structures if isinstance(request.start, GivenStart) else []
    crystals = read_structures(inputs, card, ("start", "structures"))
    return _plan(request, prop, crystals, card)


def _plan(
    request: OptimizeRequest, prop: str | None, crystals: list[CrystalInput], card: ModelCard
) -> JobSpec:
    objectives = _read_objectives(request, prop, card)
    faults = composition_faults(request, card)
    if faults:
        raise invalid(faults)
    start: Literal["dataset", "prior", "structures"]
    start = "structures" if isinstance(request.start, GivenStart) else request.start
    num_samples = request.num_samples or len(crystals) or DEFAULT_OPTIMIZE_SAMPLES
    if request.num_samples is None and not crystals:
        num_samples = min(num_samples, card.limits.max_num_samples)
    check_count(num_samples, card, "/num_samples")
    resolved = ResolvedOptimize(
        **resolve_common(request, card).model_dump(),
        **{name: getattr(request, name) for name in CompositionConstraints.model_fields},
        property=objectives[0].property,
        direction=objectives[0].direction,
        value=objectives[0].value,
        objectives=objectives,
        num_samples=num_samples,
        start=start,
        structures=summaries(crystals),
        steps=request.steps,
        learning_rate=request.learning_rate,
        trust_radius=request.trust_radius,
        patience=request.patience,
    )
    return job_spec(resolved, crystals)


def _read_objectives(
    request: OptimizeRequest, prop: str | None, card: ModelCard
) -> list[Objective]:
    """Return the objective of the query, if any, then those of the body; 422 if one is invalid."""
    known = ", ".join(card.properties) or "none"
    if prop is None and not request.objectives:
        detail = (
            f"a property is needed, in the query or in objectives; {card.reference} has: {known}"
        )
        raise invalid([FieldError(detail=detail, parameter="property")])
    if prop is None and {"direction", "value"} & request.model_fields_set:
        detail = "direction and value belong to the property of the query, and there is none"
        raise invalid([FieldError(detail=detail, parameter="property")])
    if prop is not None and prop not in card.properties:
        detail = f"property {quoted(prop)} is unknown to {card.reference}; it has: {known}"
        raise invalid([FieldError(detail=detail, parameter="property")])
    found = []
    if prop is not None:
        found.append(Objective(property=prop, direction=request.direction, value=request.value))
    for number, objective in enumerate(request.objectives):
        where = pointer("objectives", number, "property")
        name = quoted(objective.property)
        if objective.property not in card.properties:
            detail = f"{where}: {name} is unknown to {card.reference}; it has: {known}"
            raise invalid([FieldError(detail=detail, pointer=where)])
        if any(objective.property == one.property for one in found):
            detail = f"{where}: {name} has an objective already"
            raise invalid([FieldError(detail=detail, pointer=where)])
        found.append(objective)
    return found
