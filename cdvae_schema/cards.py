"""Model cards: identity, limits and quality of trained models."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field, field_validator, model_validator

from cdvae_schema.base import StrictModel, Timestamp

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Quantiles = Annotated[list[float], Field(min_length=101, max_length=101)]
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"


class Limits(StrictModel):
    """Limits of a request to the model."""

    max_num_samples: int = Field(ge=1)
    max_structures: int = Field(ge=1)
    min_atoms: int = Field(ge=1)
    max_atoms: int = Field(ge=1)
    elements: list[str] = Field(min_length=1, description="Symbols of the known elements.")

    @model_validator(mode="after")
    def _sizes_in_order(self) -> "Limits":
        if self.min_atoms > self.max_atoms:
            raise ValueError(f"min_atoms {self.min_atoms} above max_atoms {self.max_atoms}")
        return self


class Property(StrictModel):
    """A property that the model predicts."""

    unit: str
    description: str
    source: str = Field(description="Column of the data set.")
    percentiles: dict[str, float] = Field(
        description="Percentiles of the training data, by percent."
    )


class SamplerLimits(StrictModel):
    """Limits of a sampler; NFE is the number of network evaluations per crystal."""

    default_nfe: int = Field(ge=1)
    max_nfe: int = Field(ge=1)
    multiple_of: int = Field(default=1, ge=1, description="NFE must be a multiple of this.")

    @model_validator(mode="after")
    def _nfe_in_order(self) -> "SamplerLimits":
        if self.default_nfe > self.max_nfe:
            raise ValueError(f"default_nfe {self.default_nfe} above {self.max_nfe}")
        return self


class TrainingStatistics(StrictModel):
    """Distribution of the training data of a model: `reference.json` in its folder.

    Quantiles are 101 ascending values, from 0 to 100 %.
    """

    density_quantiles: Quantiles = Field(description="g/cm³")
    num_elements_histogram: dict[str, float] = Field(
        description="Fraction of the crystals by number of elements."
    )
    property_quantiles: dict[str, Quantiles] = Field(
        description="Quantiles by property, in its unit."
    )


class ModelCard(StrictModel):
    """Description of one model version."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "perov-5",
                    "version": "1",
                    "description": "Perovskites ABX3",
                    "dataset": "Perov-5",
                    "license": "MIT",
                    "created_at": "2026-11-23T09:00:00Z",
                    "commit": "9f2c1d7",
                    "weights_sha256": "0" * 64,
                    "files_sha256": {"config.toml": "0" * 64},
                    "limits": {
                        "max_num_samples": 10000,
                        "max_structures": 1000,
                        "min_atoms": 5,
                        "max_atoms": 5,
                        "elements": ["O", "Sr", "Ti"],
                    },
                    "properties": {
                        "formation_energy": {
                            "unit": "eV",
                            "description": "Heat of formation",
                            "source": "heat_ref",
                            "percentiles": {"5": 0.1, "10": 0.2, "15": 0.3},
                        }
                    },
                    "samplers": {"ancestral": {"default_nfe": 50, "max_nfe": 100}},
                    "data": {"train": 11356, "val": 3787, "test": 3785},
                    "quality": {},
                }
            ]
        }
    )

    name: str = Field(pattern=f"^{NAME}$")
    version: str = Field(pattern=f"^{NAME}$")
    description: str
    dataset: str
    license: str
    created_at: Timestamp
    commit: str
    weights_sha256: Sha256
    files_sha256: dict[str, Sha256]
    limits: Limits
    properties: dict[str, Property]
    samplers: dict[str, SamplerLimits] = Field(
        min_length=1, description="Samplers by name; the first is the default."
    )
    data: dict[str, int] = Field(description="Number of crystals in each split.")
    quality: dict[str, Any] = Field(
        description="Measured results, with the commands that produce them."
    )

    @field_validator("properties", "samplers")
    @classmethod
    def _plain_names(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if not name.replace("_", "").replace("-", "").isalnum():
                raise ValueError(f"{name!r} is not a plain name")
        return value

    @property
    def reference(self) -> str:
        """Exact reference, `name@version`."""
        return f"{self.name}@{self.version}"

    @property
    def default_sampler(self) -> str:
        """Sampler for requests that name none."""
        return next(iter(self.samplers))
