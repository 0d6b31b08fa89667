"""Plan jobs for `POST /generate`."""

from app.http.problems import invalid
from app.model_cards import ModelStore
from app.planning.constraint_checks import crystal_faults
from app.planning.plan_common import check_count, find_card, job_spec, resolve_common
from cdvae_schema.crystal_constraints import CrystalConstraints
from cdvae_schema.job_specs import JobSpec, ResolvedGenerate
from cdvae_schema.requests import GenerateRequest


def plan_generate(models: ModelStore, request: GenerateRequest) -> JobSpec:
    """Return the job for a request; it needs no parser process."""
    card = find_card(models, request.model)
    faults = crystal_faults(request, card)
    if faults:
        raise invalid(faults)
    check_count(request.num_samples, card, "/num_samples")
    resolved = ResolvedGenerate(
        **resolve_common(request, card).model_dump(),
        **{name: getattr(request, name) for name in CrystalConstraints.model_fields},
        num_samples=request.num_samples,
        callback_url=request.callback_url,
    )
    return job_spec(resolved, [])
