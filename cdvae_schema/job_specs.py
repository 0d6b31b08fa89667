"""Jobs on the queue (`JobSpec`) and jobs as a client sees them (`JobStatus`)."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from cdvae_schema.base import Seed, StrictModel, Timestamp
from cdvae_schema.crystal_constraints import CompositionConstraints, CrystalConstraints
from cdvae_schema.crystal_records import CrystalInput
from cdvae_schema.requests import Direction, Objective, Priority

JobKind = Literal["generate", "reconstruct", "optimize", "interpolate", "vary"]
JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
FINAL_STATES: frozenset[JobState] = frozenset({"succeeded", "failed", "cancelled"})

JOB_ID = r"^[A-Za-z0-9_-]{1,64}$"
JobId = Annotated[str, Field(pattern=JOB_ID)]


class ResolvedSampler(StrictModel):
    """Sampler with its maximum NFE per crystal."""

    name: str
    nfe: int = Field(ge=1)


class ResolvedTask(StrictModel):
    """A request after validation, with all defaults."""

    model: str = Field(description="`name@version`")
    seed: Seed
    sampler: ResolvedSampler
    priority: Priority
    relax: bool = False


class StructureSummary(StrictModel):
    """Summary of an input crystal."""

    label: str
    formula: str
    num_atoms: int


class ResolvedGenerate(ResolvedTask, CrystalConstraints):
    """A `GenerateRequest` after validation, with all defaults."""

    kind: Literal["generate"] = "generate"
    num_samples: int = Field(ge=1)
    callback_url: str | None = None


class ResolvedReconstruct(ResolvedTask):
    """A `ReconstructRequest` after validation, with all defaults."""

    kind: Literal["reconstruct"] = "reconstruct"
    structures: list[StructureSummary] = Field(min_length=1)
    num_candidates: int = Field(ge=1)

    @property
    def num_samples(self) -> int:
        """Number of result crystals: candidates of structure 0 first, then of 1, …"""
        return len(self.structures) * self.num_candidates


class ResolvedOptimize(ResolvedTask, CompositionConstraints):
    """An `OptimizeRequest` after validation, with all defaults."""

    kind: Literal["optimize"] = "optimize"
    property: str = Field(description="Property of the first objective, like direction and value.")
    direction: Direction
    value: float | None
    objectives: list[Objective] = Field(min_length=1)
    num_samples: int = Field(ge=1)
    start: Literal["dataset", "prior", "structures"]
    structures: list[StructureSummary] = Field(
        description="The caller's start crystals; sample i starts from number i modulo their count."
    )
    steps: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    trust_radius: float = Field(gt=0)
    patience: int | None


class ResolvedInterpolate(ResolvedTask):
    """An `InterpolateRequest` after validation, with all defaults."""

    kind: Literal["interpolate"] = "interpolate"
    structures: list[StructureSummary] = Field(min_length=2, max_length=2)
    num_points: int = Field(ge=2)

    @property
    def num_samples(self) -> int:
        """Number of result crystals."""
        return self.num_points


class ResolvedVary(ResolvedTask):
    """A `VaryRequest` after validation, with all defaults."""

    kind: Literal["vary"] = "vary"
    structures: list[StructureSummary] = Field(min_length=1, max_length=1)
    strength: float = Field(gt=0, le=1)
    num_samples: int = Field(ge=1)
    keep_composition: bool


Resolved = Annotated[
    ResolvedGenerate | ResolvedReconstruct | ResolvedOptimize | ResolvedInterpolate | ResolvedVary,
    Field(discriminator="kind"),
]


class JobSpec(StrictModel):
    """A job on the queue, with all data that a worker needs."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "0c9d6f6e0a4b4c0f9a3c2f1d5e6b7a80",
                    "kind": "generate",
                    "model": "perov-5@1",
                    "seed": 7,
                    "sampler": {"name": "ancestral", "nfe": 50},
                    "priority": "normal",
                    "created_at": "2026-11-23T09:00:00Z",
                    "request": {
                        "kind": "generate",
                        "model": "perov-5@1",
                        "seed": 7,
                        "sampler": {"name": "ancestral", "nfe": 50},
                        "priority": "normal",
                        "num_samples": 16,
                    },
                    "structures": [],
                }
            ]
        }
    )

    id: JobId
    kind: JobKind
    model: str = Field(description="`name@version`")
    seed: Seed
    sampler: ResolvedSampler
    priority: Priority
    created_at: Timestamp
    request: Resolved
    structures: list[CrystalInput] = Field(
        default=[], description="Crystals of `request.structures`, in the same order."
    )

    @model_validator(mode="after")
    def _says_one_thing(self) -> "JobSpec":
        if self.kind != self.request.kind:
            raise ValueError(f"a {self.kind} job with a {self.request.kind} request")
        named = [] if self.request.kind == "generate" else self.request.structures
        if len(named) != len(self.structures):
            raise ValueError(f"{len(self.structures)} structures where {len(named)} are named")
        return self

    @property
    def num_samples(self) -> int:
        """Number of result crystals of the job."""
        return self.request.num_samples


class JobProgress(StrictModel):
    """Progress of a job."""

    fraction: float = Field(ge=0, le=1)
    stage: str = Field(examples=["sampling"])
    samples_done: int = Field(ge=0)
    samples_total: int = Field(ge=0)
    eta_seconds: float | None = Field(ge=0)


class JobError(StrictModel):
    """Reason of a failed job."""

    code: str = Field(examples=["worker_lost"], pattern=r"^[a-z][a-z0-9_]*$")
    detail: str = Field(description="Human-readable reason.")


class JobLinks(StrictModel):
    """Links of a job; null where the resource does not exist (yet)."""

    self: str
    result: str | None
    events: str | None


class JobStatus(StrictModel):
    """Status of a job."""

    id: JobId
    kind: JobKind
    state: JobState
    created_at: Timestamp
    started_at: Timestamp | None
    finished_at: Timestamp | None
    progress: JobProgress
    queue_position: int | None = Field(ge=1, description="1 is next; null where not queued.")
    error: JobError | None
    links: JobLinks
    request: Resolved
