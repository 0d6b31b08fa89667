"""The provenance of a result: model, seed, sampler, device, software."""

from __future__ import annotations

import contextlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from cdvae_schema.job_specs import JobSpec
from cdvae_schema.outcomes import Provenance, Seconds
from worker.model.engine import Engine

SOFTWARE = ("cdvae-service", "torch", "torch-geometric", "pymatgen", "smact", "numpy")


def provenance(spec: JobSpec, engine: Engine, evaluations: float, seconds: Seconds) -> Provenance:
    """Return the provenance of a job's result. evaluations: mean NFE of a crystal."""
    model = engine.model
    return Provenance(
        model=model.name,
        version=model.version,
        weights_sha256=model.weights_sha256,
        seed=spec.seed,
        sampler=spec.sampler,
        nfe=evaluations,
        device=engine.device,
        software=software(),
        seconds=seconds,
    )


@cache
def software() -> dict[str, str]:
    """Return the versions of the installed packages that the crystals depend on."""
    versions = {}
    for name in SOFTWARE:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions
