"""Results: the summary that a worker writes and the form that a client reads."""

from typing import Any, Literal

from pydantic import Field

from cdvae_schema.base import Seed, StrictModel
from cdvae_schema.crystal_records import AnyRecord
from cdvae_schema.job_specs import JobStatus, ResolvedSampler


class Seconds(StrictModel):
    """Times of a job, in seconds."""

    queue: float = Field(ge=0, description="Wait for a worker.")
    sample: float = Field(ge=0, description="Computation of the model.")
    check: float = Field(ge=0, description="Analysis and storage of the crystals.")
    relax: float = Field(default=0.0, ge=0, description="Relaxation of the crystals.")


class Provenance(StrictModel):
    """Origin of the crystals; the same seed, weights and hardware reproduce them."""

    model: str
    version: str
    weights_sha256: str
    seed: Seed
    sampler: ResolvedSampler
    nfe: float = Field(ge=0, description="Mean NFE per crystal.")
    device: str
    software: dict[str, str] = Field(description="Package versions.")
    seconds: Seconds


class ResultSummary(StrictModel):
    """`result.json`, which is written last: its presence marks the job as complete."""

    state: Literal["succeeded", "cancelled"]
    metrics: dict[str, Any] = Field(description="See docs/api.md.")
    provenance: Provenance
    order: list[int] | None = Field(
        default=None,
        description="Crystal indices, best first; null: ordered by index.",
    )


class JobResult(StrictModel):
    """JSON form of a result."""

    job: JobStatus
    crystals: list[AnyRecord]
    metrics: dict[str, Any] | None = Field(
        description="Null for a job that was cancelled before its summary."
    )
    provenance: Provenance | None
