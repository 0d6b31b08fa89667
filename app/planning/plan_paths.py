"""Plan jobs for `POST /interpolate` and `POST /variations`."""

from pathlib import Path

from app.http.bodies import parse_json
from app.http.problems import FieldError, invalid
from app.planning.plan_common import (
    check_count,
    find_card,
    job_spec,
    models_in,
    resolve_common,
    summaries,
)
from app.planning.structure_inputs import read_one, read_structures
from cdvae_schema.job_specs import JobSpec, ResolvedInterpolate, ResolvedVary
from cdvae_schema.path_requests import InterpolateRequest, VaryRequest


def plan_interpolate(folder: Path, body: bytes) -> JobSpec:
    """Return the job for a JSON body, which must hold two crystals; `folder` holds the models."""
    request = parse_json(InterpolateRequest, body)
    card = find_card(models_in(folder), request.model)
    crystals = read_structures(request.structures, card, ("structures",))
    if len(crystals) != 2:
        detail = f"/structures: two crystals are needed, not {len(crystals)}"
        raise invalid([FieldError(detail=detail, pointer="/structures")])
    check_count(request.num_points, card, "/num_points")
    resolved = ResolvedInterpolate(
        **resolve_common(request, card).model_dump(),
        structures=summaries(crystals),
        num_points=request.num_points,
    )
    return job_spec(resolved, crystals)


def plan_variations(folder: Path, body: bytes) -> JobSpec:
    """Return the job for a JSON body, which must hold one crystal; `folder` holds the models."""
    request = parse_json(VaryRequest, body)
    card = find_card(models_in(folder), request.model)
    crystals = read_one(request.structure, card, ("structure",))
    if len(crystals) != 1:
        detail = f"/structure/cif: one crystal is needed, not {len(crystals)}"
        raise invalid([FieldError(detail=detail, pointer="/structure/cif")])
    check_count(request.num_samples, card, "/num_samples")
    resolved = ResolvedVary(
        **resolve_common(request, card).model_dump(),
        structures=summaries(crystals),
        strength=request.strength,
        num_samples=request.num_samples,
        keep_composition=request.keep_composition,
    )
    return job_spec(resolved, crystals)
