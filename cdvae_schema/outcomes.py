"""Finished work: the summary that a worker writes and the result that a client reads."""

from typing import Any, Literal

from pydantic import Field

from cdvae_schema.base import Seed, StrictModel
from cdvae_schema.crystal_records import AnyRecord
from cdvae_schema.job_specs import JobStatus, Sampler


class Seconds(StrictModel):
    """Where the time went."""

    queue: float = Field(ge=0, description="Waiting for a worker.")
    sample: float = Field(ge=0, description="In the model.")
    check: float = Field(ge=0, description="Describing, checking and writing the crystals.")
    relax: float = Field(default=0.0, ge=0, description="Relaxing the crystals.")


class Provenance(StrictModel):
    """What made the crystals; the same seed, weights and hardware make the same again."""

    model: str
    version: str
    weights_sha256: str
    seed: Seed
    sampler: Sampler
    nfe: float = Field(ge=0, description="Of each crystal, mean.")
    device: str
    software: dict[str, str] = Field(description="Package versions.")
    seconds: Seconds


class ResultSummary(StrictModel):
    """`result.json`: written last, so that its presence says that nothing more will come."""

    state: Literal["succeeded", "cancelled"]
    metrics: dict[str, Any] = Field(description="See the API page.")
    provenance: Provenance
    order: list[int] | None = Field(
        default=None,
        description="Crystal indices in the order of presentation; null: by index.",
    )


class JobResult(StrictModel):
    """The JSON form of a result."""

    job: JobStatus
    crystals: list[AnyRecord]
    metrics: dict[str, Any] | None = Field(
        description="Null for a job that was cancelled before its summary was made."
    )
    provenance: Provenance | None
