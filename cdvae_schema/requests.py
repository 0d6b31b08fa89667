"""Bodies of the POST requests; `path_requests.py` has those of interpolation and variation."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from cdvae_schema.base import Seed, StrictModel
from cdvae_schema.crystal_constraints import CompositionConstraints, CrystalConstraints

Priority = Literal["interactive", "normal", "bulk"]
Direction = Literal["minimize", "maximize", "target"]

MAX_NUM_SAMPLES = 10_000
MAX_OPTIMIZE_STEPS = 50_000


class SamplerChoice(StrictModel):
    """Sampler and its maximum NFE per crystal; null: the sampler's default."""

    name: str = Field(max_length=64, examples=["ancestral"])
    nfe: int | None = Field(default=None, ge=1, examples=[50])


class TaskRequest(StrictModel):
    """Fields of all requests."""

    model: str | None = Field(
        default=None,
        max_length=128,
        description="`name` or `name@version`; null: the default model.",
        examples=["perov-5"],
    )
    seed: Seed | None = Field(
        default=None, description="Null: random; the job's status returns it."
    )
    sampler: SamplerChoice | None = Field(default=None, description="Null: the model's default.")
    priority: Priority = "normal"
    relax: bool = Field(
        default=False,
        description="Relax the crystals with an interatomic potential, if a worker has one.",
    )


class GenerateRequest(TaskRequest, CrystalConstraints):
    """Sample crystals from the model's prior, with constraints."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "perov-5",
                    "num_samples": 16,
                    "seed": 7,
                    "sampler": {"name": "ancestral", "nfe": 50},
                }
            ]
        }
    )

    num_samples: int = Field(default=16, ge=1, le=MAX_NUM_SAMPLES)
    callback_url: str | None = Field(default=None, max_length=2048)


class StructureInput(StrictModel):
    """One crystal as CIF text, or as the dictionary of pymatgen's `Structure.as_dict()`."""

    cif: str | None = Field(default=None, description="CIF text; each `data_` block is a crystal.")
    structure: dict[str, Any] | None = Field(
        default=None, description="pymatgen `Structure.as_dict()`."
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> "StructureInput":
        if (self.cif is None) == (self.structure is None):
            raise ValueError("give either 'cif' or 'structure'")
        return self


class ReconstructRequest(TaskRequest):
    """Encode and decode crystals."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "perov-5",
                    "structures": [{"cif": "data_SrTiO3\n_cell_length_a 3.905\n…"}],
                    "num_candidates": 4,
                    "seed": 7,
                }
            ]
        }
    )

    structures: list[StructureInput] = Field(min_length=1, max_length=10_000)
    num_candidates: int = Field(
        default=1, ge=1, le=1000, description="Candidates per input crystal."
    )


class GivenStart(StrictModel):
    """Input crystals as starts of an optimization."""

    structures: list[StructureInput] = Field(min_length=1, max_length=10_000)


def _start_kind(value: object) -> str | None:
    if isinstance(value, str):
        return "named"
    if isinstance(value, dict | GivenStart):
        return "given"
    return None


Start = Annotated[
    Annotated[Literal["dataset", "prior"], Tag("named")] | Annotated[GivenStart, Tag("given")],
    Discriminator(
        _start_kind,
        custom_error_type="start_type",
        custom_error_message="should be 'dataset', 'prior' or an object with 'structures'",
    ),
]


def check_goal(direction: Direction, value: float | None) -> None:
    """Raise ValueError unless exactly the direction `target` has a value."""
    if direction == "target" and value is None:
        raise ValueError("direction 'target' requires a 'value'")
    if direction != "target" and value is not None:
        raise ValueError(f"'value' requires direction 'target', not {direction!r}")


class Objective(StrictModel):
    """Goal for a property."""

    property: str = Field(max_length=64, description="One of the card's properties.")
    direction: Direction = "minimize"
    value: float | None = Field(default=None, description="The goal where direction is `target`.")
    weight: float = Field(
        default=1.0,
        gt=0,
        le=1000,
        description="Weight relative to the other objectives, whose properties are in standard "
        "deviations of the training data (for a target: its squared difference).",
    )

    @model_validator(mode="after")
    def _value_belongs_to_target(self) -> "Objective":
        check_goal(self.direction, self.value)
        return self


class OptimizeRequest(TaskRequest, CompositionConstraints):
    """Search for crystals with better predicted properties from each start.

    Every crystal meets the constraints; a start that does not gets the nearest composition that
    does.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "perov-5",
                    "direction": "minimize",
                    "num_samples": 100,
                    "start": "dataset",
                    "seed": 7,
                }
            ]
        }
    )

    direction: Direction = Field(
        default="minimize", description="Direction of the property in the query."
    )
    value: float | None = Field(default=None, description="The goal where direction is `target`.")
    objectives: list[Objective] = Field(
        default=[],
        max_length=8,
        description="Further properties, or all if the query names none.",
    )
    num_samples: int | None = Field(
        default=None,
        ge=1,
        le=MAX_NUM_SAMPLES,
        description="Null: 100, or one per input structure. Sample i starts from structure i "
        "modulo their number.",
    )
    start: Start = "dataset"
    steps: int = Field(
        default=200,
        ge=1,
        le=MAX_OPTIMIZE_STEPS,
        description="Gradient steps on the latent, divided among the ten iterations of a search.",
    )
    learning_rate: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="Learning rate of Adam, in coordinates with unit variance.",
    )

    trust_radius: float = Field(
        default=0.8,
        gt=0,
        le=2,
        description="Initial trust radius, root mean square in the normal coordinates of the "
        "prior; it grows while crystals confirm the model's prediction.",
    )
    patience: int | None = Field(
        default=4,
        ge=1,
        description="Iterations without progress that end a search; null: no early end.",
    )

    @model_validator(mode="after")
    def _value_belongs_to_target(self) -> "OptimizeRequest":
        check_goal(self.direction, self.value)
        return self
