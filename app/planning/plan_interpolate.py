"""Plan jobs for `POST /interpolate`."""

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
from app.planning.structure_inputs import read_structures
from cdvae_schema.job_specs import JobSpec, ResolvedInterpolate
from cdvae_schema.path_requests import InterpolateRequest


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
