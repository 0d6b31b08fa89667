"""Crystals on the wire: what goes to a worker, and what is known of a crystal that came back."""

from typing import Annotated

from pydantic import Field, model_validator

from cdvae_schema.base import Matrix, StrictModel, Vector


class CrystalInput(StrictModel):
    """One ordered crystal, symmetry already expanded: every atom of the cell is listed."""

    lattice: Matrix = Field(description="Cell vectors as rows, Å.")
    atomic_numbers: list[Annotated[int, Field(ge=1, le=118)]] = Field(
        min_length=1, description="Atomic number of every atom."
    )
    frac_coords: list[Vector] = Field(
        description="Fractional coordinates of every atom, in [0, 1)."
    )
    label: str = Field(description="Where it came from: the CIF block's name or the list position.")

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
    """The two checks that every crystal gets."""

    structure: bool = Field(description="No two atoms closer than 0.5 Å, volume at least 0.1 Å³.")
    composition: bool = Field(
        description="SMACT: charge neutral and electronegativities in balance."
    )


class Relaxed(StrictModel):
    """A crystal relaxed with an interatomic potential, cell and sites together."""

    potential: str = Field(description="Its name and the version of its package.")
    cif: str = Field(description="CIF text (P1) with the provenance in comments.")
    energy_per_atom: float = Field(description="eV")
    energy_per_atom_before: float = Field(description="eV, of the crystal as decoded.")
    rmsd: float | None = Field(
        description="RMS distance to the crystal as decoded / (V/N)^(1/3); null where the "
        "StructureMatcher (stol 0.5, angle_tol 10, ltol 0.3) no longer pairs them."
    )
    converged: bool = Field(description="No force, on atoms or cell, above 0.1 eV/Å.")
    steps: int = Field(ge=0)


class CrystalRecord(StrictModel):
    """One crystal of a result; a number is null where it cannot be computed."""

    index: int = Field(
        ge=0, description="Number of the crystal in its job; names it for good, whatever the order."
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
        description="Of the crystal, by a model trained apart from the generator; card units."
    )
    novel: bool | None = Field(description="False where the training data hold this crystal.")
    duplicate_of: int | None = Field(description="Index of an earlier equal crystal of this job.")
    relaxed: Relaxed | None = Field(
        default=None,
        description="Where the job asked for it and the potential could treat the crystal; null "
        "until the job has ended.",
    )


class Consistency(StrictModel):
    """How far a decoded crystal agrees with the latent that it was decoded from; 0 is perfect."""

    latent_mse: float = Field(
        ge=0, description="Mean squared difference of its own latent and codes from these."
    )
    score_residual: float = Field(ge=0, description="RMS shift that the score still asks for, Å.")
    property_gap: float = Field(
        ge=0,
        description="RMS difference of the properties read from the latent and those predicted "
        "for the crystal, in standard deviations of the training data.",
    )


class ReconstructedRecord(CrystalRecord):
    """A candidate for one of the given structures."""

    source: int = Field(ge=0, description="Number of the given structure.")
    matched: bool = Field(description="StructureMatcher: stol 0.5, angle_tol 10, ltol 0.3.")
    rmse: float | None = Field(description="RMS distance / (V/N)^(1/3); null without a match.")
    consistency: Consistency
    rank: int | None = Field(
        ge=1,
        description="Among the candidates of its source, 1 is best: valid ones first, then by "
        "score_residual; the given structure is not looked at. Null until the job has ended.",
    )


StartValue = Annotated[
    float, Field(description="Predicted property at the start of the optimization.")
]
Trajectory = Annotated[
    list[float],
    Field(
        description="The property of the best crystal so far, after each decoding of the search, "
        "read by the model from that crystal encoded again."
    ),
]
Percentile = Annotated[
    float,
    Field(
        ge=0,
        le=100,
        description="Percentile of the training data that the predicted value reaches.",
    ),
]


class ObjectiveOutcome(StrictModel):
    """What a search made of one property, in the unit of the card."""

    property: str
    start_value: StartValue
    trajectory: Trajectory
    percentile: Percentile
    predicted_gain: float = Field(description="Last of the trajectory less its first.")
    validated_gain: float = Field(
        description="The same difference by the model trained apart from the generator."
    )
    gap: float = Field(
        description="predicted_gain less validated_gain: how far the head was fooled."
    )


class OptimizedRecord(CrystalRecord):
    """A crystal decoded from an optimized latent."""

    source: int | None = Field(
        ge=0, description="Number of the given structure; null for data-set and prior starts."
    )
    start_value: StartValue
    trajectory: Trajectory
    percentile: Percentile
    objectives: list[ObjectiveOutcome] = Field(
        min_length=1, description="Of every objective; the fields above are those of the first."
    )


class InterpolatedRecord(CrystalRecord):
    """A crystal on the way between two given ones."""

    position: float = Field(ge=0, le=1, description="0: the first given crystal, 1: the second.")
    distances: list[float] = Field(
        min_length=2,
        max_length=2,
        description="From the first and the second given crystal: RMS difference of their latents, "
        "in units of the spread of the training data.",
    )


class VariedRecord(CrystalRecord):
    """A crystal like a given one."""

    distance: float = Field(
        ge=0,
        description="From the given crystal: RMS difference of their latents, in units of the "
        "spread of the training data.",
    )
    rmse: float | None = Field(
        description="RMS distance to the given crystal / (V/N)^(1/3); null where the "
        "StructureMatcher (stol 0.5, angle_tol 10, ltol 0.3) does not pair them."
    )


AnyRecord = (
    ReconstructedRecord | OptimizedRecord | InterpolatedRecord | VariedRecord | CrystalRecord
)
"""The record of a crystal of any kind of job; no two kinds have the same fields."""
