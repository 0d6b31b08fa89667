"""Jobs: what travels on the queue (`JobSpec`) and what a client sees of it (`JobStatus`)."""

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


class Sampler(StrictModel):
    """A sampler with its number of score evaluations."""

    name: str
    nfe: int = Field(ge=1)


class ResolvedTask(StrictModel):
    """A request as the service understood it: checked, with every default filled in."""

    model: str = Field(description="`name@version`")
    seed: Seed
    sampler: Sampler
    priority: Priority
    relax: bool = False


class StructureSummary(StrictModel):
    """A given crystal, named rather than repeated."""

    label: str
    formula: str
    num_atoms: int


class ResolvedGenerate(ResolvedTask, CrystalConstraints):
    """A `GenerateRequest`, checked, with its defaults filled in."""

    kind: Literal["generate"] = "generate"
    num_samples: int = Field(ge=1)
    callback_url: str | None = None


class ResolvedReconstruct(ResolvedTask):
    """A `ReconstructRequest`, checked, with its defaults filled in."""

    kind: Literal["reconstruct"] = "reconstruct"
    structures: list[StructureSummary] = Field(min_length=1)
    num_candidates: int = Field(ge=1)

    @property
    def num_samples(self) -> int:
        """Number of crystals that come back: candidates of structure 0 first, then of 1, …"""
        return len(self.structures) * self.num_candidates


class ResolvedOptimize(ResolvedTask, CompositionConstraints):
    """An `OptimizeRequest`, checked, with its defaults filled in."""

    kind: Literal["optimize"] = "optimize"
    property: str = Field(description="That of the first objective, as direction and value are.")
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
    """An `InterpolateRequest`, checked, with its defaults filled in."""

    kind: Literal["interpolate"] = "interpolate"
    structures: list[StructureSummary] = Field(min_length=2, max_length=2)
    num_points: int = Field(ge=2)

    @property
    def num_samples(self) -> int:
        """Number of crystals that come back."""
        return self.num_points


class ResolvedVary(ResolvedTask):
    """A `VaryRequest`, checked, with its defaults filled in."""

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
    """One unit of work as it lies on the queue; complete, so that a worker asks nobody."""

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
    sampler: Sampler
    priority: Priority
    created_at: Timestamp
    request: Resolved
    structures: list[CrystalInput] = Field(
        default=[], description="The crystals that `request.structures` names, in the same order."
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
        """Number of crystals that the job makes."""
        return self.request.num_samples


class JobProgress(StrictModel):
    """How far a job is."""

    fraction: float = Field(ge=0, le=1)
    stage: str = Field(examples=["sampling"])
    samples_done: int = Field(ge=0)
    samples_total: int = Field(ge=0)
    eta_seconds: float | None = Field(ge=0)


class JobError(StrictModel):
    """Why a job failed."""

    code: str = Field(examples=["worker_lost"], pattern=r"^[a-z][a-z0-9_]*$")
    detail: str = Field(description="A sentence for a person.")


class JobLinks(StrictModel):
    """Where the rest of the job is; null where there is nothing (yet)."""

    self: str
    result: str | None
    events: str | None


class JobStatus(StrictModel):
    """A job as its client sees it."""

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
