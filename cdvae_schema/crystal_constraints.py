"""What a client may require of every crystal of a job; null leaves it to the model."""

from typing import Annotated

from pydantic import Field

from cdvae_schema.base import StrictModel

Angle = Annotated[float, Field(gt=0, lt=180)]
Length = Annotated[float, Field(gt=0, le=1000)]
Symbol = Annotated[str, Field(min_length=1, max_length=2)]


class ElementFilter(StrictModel):
    """Elements that must, or must not, occur."""

    include: list[Symbol] = Field(default_factory=list, max_length=118)
    exclude: list[Symbol] = Field(default_factory=list, max_length=118)


class LatticeChoice(StrictModel):
    """A unit cell to keep: lengths in Å, angles in degrees."""

    a: Length
    b: Length
    c: Length
    alpha: Angle
    beta: Angle
    gamma: Angle


class PropertyTarget(StrictModel):
    """A property and the value that it should have, in the unit of the model card."""

    property: str = Field(max_length=64)
    value: float


class CompositionConstraints(StrictModel):
    """Which atoms the cell holds."""

    num_atoms: int | None = Field(default=None, ge=1, le=1000, description="In the cell, exactly.")
    composition: str | None = Field(
        default=None,
        max_length=256,
        description="A formula such as SrTiO3: exactly these atoms. Where `num_atoms` or `lattice` "
        "ask for more, or the model knows no cell as small, a multiple of them.",
    )
    elements: ElementFilter | None = None


class CrystalConstraints(CompositionConstraints):
    """Which atoms the cell holds, which cell it is, how it is symmetric, what it is good for."""

    lattice: LatticeChoice | None = Field(
        default=None,
        description="Kept exactly. With a space group: its conventional or its primitive cell.",
    )
    spacegroup: int | None = Field(
        default=None,
        ge=1,
        le=230,
        description="International number; a crystal may turn out to have a supergroup of it.",
    )
    target: PropertyTarget | None = Field(
        default=None, description="Approached, not met exactly: compare `predicted`."
    )
