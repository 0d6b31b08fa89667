"""Constraints on every crystal of a job; null means no constraint."""

from typing import Annotated

from pydantic import Field

from cdvae_schema.base import StrictModel

Angle = Annotated[float, Field(gt=0, lt=180)]
Length = Annotated[float, Field(gt=0, le=1000)]
Symbol = Annotated[str, Field(min_length=1, max_length=2)]


class ElementFilter(StrictModel):
    """Required and excluded elements."""

    include: list[Symbol] = Field(default_factory=list, max_length=118)
    exclude: list[Symbol] = Field(default_factory=list, max_length=118)


class LatticeChoice(StrictModel):
    """Fixed unit cell: lengths in Å, angles in degrees."""

    a: Length
    b: Length
    c: Length
    alpha: Angle
    beta: Angle
    gamma: Angle


class PropertyTarget(StrictModel):
    """Target value of a property, in the unit of the model card."""

    property: str = Field(max_length=64)
    value: float


class CompositionConstraints(StrictModel):
    """Constraints on the atoms of the cell."""

    num_atoms: int | None = Field(
        default=None, ge=1, le=1000, description="Exact number in the cell."
    )
    composition: str | None = Field(
        default=None,
        max_length=256,
        description="Formula such as SrTiO3. The cell holds exactly these atoms, or a multiple of "
        "them where `num_atoms`, `lattice` or the model require a larger cell.",
    )
    elements: ElementFilter | None = None


class CrystalConstraints(CompositionConstraints):
    """Constraints on atoms, cell, space group and a property."""

    lattice: LatticeChoice | None = Field(
        default=None,
        description="Exact cell; with a space group, its conventional or primitive cell.",
    )
    spacegroup: int | None = Field(
        default=None,
        ge=1,
        le=230,
        description="International number; the crystal may have a supergroup.",
    )
    target: PropertyTarget | None = Field(
        default=None, description="Best effort: compare `predicted`."
    )
