"""Requests for interpolation and variation in the latent space."""

from pydantic import ConfigDict, Field

from cdvae_schema.requests import MAX_NUM_SAMPLES, StructureInput, TaskRequest


class InterpolateRequest(TaskRequest):
    """Interpolate between two crystals."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "perov-5",
                    "structures": [
                        {"cif": "data_SrTiO3\n_cell_length_a 3.905\n…"},
                        {"cif": "data_BaZrO3\n_cell_length_a 4.193\n…"},
                    ],
                    "num_points": 11,
                    "seed": 7,
                }
            ]
        }
    )

    structures: list[StructureInput] = Field(
        min_length=1, max_length=2, description="Two crystals; one CIF may hold both."
    )
    num_points: int = Field(
        default=11,
        ge=2,
        le=MAX_NUM_SAMPLES,
        description="Evenly spaced, both ends included.",
    )


class VaryRequest(TaskRequest):
    """Sample variations of a crystal."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "perov-5",
                    "structure": {"cif": "data_SrTiO3\n_cell_length_a 3.905\n…"},
                    "strength": 0.3,
                    "num_samples": 16,
                    "seed": 7,
                }
            ]
        }
    )

    structure: StructureInput
    strength: float = Field(
        default=0.3,
        gt=0,
        le=1,
        description="Distance from the input: 1 keeps nothing of it, except the composition with "
        "`keep_composition`.",
    )
    num_samples: int = Field(default=16, ge=1, le=MAX_NUM_SAMPLES)
    keep_composition: bool = Field(
        default=False,
        description="False: elements and numbers of atoms change too, more with greater strength.",
    )
