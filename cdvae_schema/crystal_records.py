"""Crystals on the wire: inputs of a worker and records of its results."""

from typing import Annotated

from pydantic import Field, model_validator

from cdvae_schema.base import Matrix, StrictModel, Vector


class CrystalInput(StrictModel):
    """One ordered crystal with every atom of the cell."""

    lattice: Matrix = Field(description="Cell vectors as rows, Å.")
    atomic_numbers: list[Annotated[int, Field(ge=1, le=118)]] = Field(
        min_length=1, description="Atomic number of every atom."
    )
    frac_coords: list[Vector] = Field(
        description="Fractional coordinates of every atom, in [0, 1)."
    )
    label: str = Field(description="Origin: name of the CIF block or position in the list.")

    @model_validator(mode="after")
    def _one_position_per_atom(self) -> "CrystalInput":
        if len(self.frac_coords) != len(self.atomic_numbers):
            raise ValueError(
                f"{len(self.frac_coords)} positions for {len(self.atomic_numbers)} atoms"
            )
        return self


class CellParameters(StrictModel):
    """A unit cell."""

    a: float = Field(description="Å")
    b: float = Field(description="Å")
    c: float = Field(description="Å")
    alpha: float = Field(description="degrees")
    beta: float = Field(description="degrees")
    gamma: float = Field(description="degrees")
    matrix: Matrix = Field(description="Cell vectors as rows, Å.")


class SpaceGroup(StrictModel):
    """A space group found by symmetry search."""

    number: int = Field(ge=1, le=230)
    symbol: str = Field(description="International (Hermann-Mauguin) symbol.")


class Validity(StrictModel):
    """Validity checks of a crystal."""

    structure: bool = Field(description="All distances at least 0.5 Å, volume at least 0.1 Å³.")
    composition: bool = Field(description="SMACT: charge neutrality and electronegativity balance.")


class Relaxed(StrictModel):
    """Crystal after relaxation of cell and sites with an interatomic potential."""

    potential: str = Field(description="Name, and version of the package.")
    cif: str = Field(description="CIF text (P1) with the provenance in comments.")
    energy_per_atom: float = Field(description="eV")
    energy_per_atom_before: float = Field(description="eV, before relaxation.")
    rmsd: float | None = Field(
        description="RMS distance to the crystal before relaxation / (V/N)^(1/3); null where "
        "StructureMatcher (stol 0.5, angle_tol 10, ltol 0.3) finds no match."
    )
    converged: bool = Field(description="All forces on atoms and cell at most 0.1 eV/Å.")
    steps: int = Field(ge=0)


class CrystalRecord(StrictModel):
    """One crystal of a result; numbers that cannot be computed are null."""

    index: int = Field(
        ge=0, description="Permanent number of the crystal in its job, independent of the order."
    )
    formula: str = Field(description="All atoms of the cell, e.g. Sr1 Ti1 O3.")
    reduced_formula: str
    num_atoms: int = Field(ge=1)
    cif: str = Field(description="CIF text (P1) with the provenance in comments.")
    lattice: CellParameters
    volume: float = Field(description="Å³")
    density: float | None = Field(description="g/cm³")
    spacegroup: SpaceGroup | None
    min_distance: float | None = Field(description="Shortest interatomic distance, Å.")
    valid: Validity
    predicted: dict[str, float] = Field(
        description="Properties from a model independent of the generator; card units."
    )
    novel: bool | None = Field(description="False if the training data contain this crystal.")
    duplicate_of: int | None = Field(description="Index of an earlier equal crystal of this job.")
    relaxed: Relaxed | None = Field(
        default=None,
        description="Present if the request has `relax` and the potential supports the crystal; "
        "null until the job ends.",
    )


class Consistency(StrictModel):
    """Consistency of a decoded crystal with its latent; 0 is perfect."""

    latent_mse: float = Field(
        ge=0, description="Mean squared difference to the latent of the encoded crystal."
    )
    score_residual: float = Field(ge=0, description="RMS displacement that the score predicts, Å.")
    property_gap: float = Field(
        ge=0,
        description="RMS difference between the properties predicted from the latent and from the "
        "crystal, in standard deviations of the training data.",
    )


class ReconstructedRecord(CrystalRecord):
    """Reconstruction of an input structure."""

    source: int = Field(ge=0, description="Number of the input structure.")
    matched: bool = Field(description="StructureMatcher: stol 0.5, angle_tol 10, ltol 0.3.")
    rmse: float | None = Field(description="RMS distance / (V/N)^(1/3); null without a match.")
    consistency: Consistency
    rank: int | None = Field(
        ge=1,
        description="Rank among the candidates of its source, 1 is best: valid first, then by "
        "score_residual, without knowledge of the input. Null until the job ends.",
    )


StartValue = Annotated[float, Field(description="Predicted property at the start.")]
Trajectory = Annotated[
    list[float],
    Field(
        description="Property of the best crystal after each decoding of the search, predicted "
        "from its encoding."
    ),
]
Percentile = Annotated[
    float,
    Field(
        ge=0,
        le=100,
        description="Percentile of the predicted value in the training data.",
    ),
]


class ObjectiveOutcome(StrictModel):
    """Outcome of a search for one property, in the unit of the card."""

    property: str
    start_value: StartValue
    trajectory: Trajectory
    percentile: Percentile
    predicted_gain: float = Field(description="Last minus first value of the trajectory.")
    validated_gain: float = Field(
        description="The same difference from the independent property model."
    )
    gap: float = Field(
        description="predicted_gain minus validated_gain: the error that the search exploited."
    )


class OptimizedRecord(CrystalRecord):
    """Crystal decoded from an optimized latent."""

    source: int | None = Field(
        ge=0, description="Number of the input structure; null for dataset and prior starts."
    )
    start_value: StartValue
    trajectory: Trajectory
    percentile: Percentile
    objectives: list[ObjectiveOutcome] = Field(
        min_length=1, description="Outcome of each objective; the fields above repeat the first."
    )


class InterpolatedRecord(CrystalRecord):
    """Crystal on the path between two inputs."""

    position: float = Field(ge=0, le=1, description="0: first input, 1: second input.")
    distances: list[float] = Field(
        min_length=2,
        max_length=2,
        description="RMS difference of the latents from the first and the second input, in units "
        "of the spread of the training data.",
    )


class VariedRecord(CrystalRecord):
    """Variation of an input crystal."""

    distance: float = Field(
        ge=0,
        description="RMS difference of the latents from the input, in units of the spread of the "
        "training data.",
    )
    rmse: float | None = Field(
        description="RMS distance to the input / (V/N)^(1/3); null where StructureMatcher "
        "(stol 0.5, angle_tol 10, ltol 0.3) finds no match."
    )


AnyRecord = (
    ReconstructedRecord | OptimizedRecord | InterpolatedRecord | VariedRecord | CrystalRecord
)
"""Record of a crystal of any kind of job; the fields identify the kind."""
