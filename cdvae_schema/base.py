"""The strict base of every type on the wire, and the number types that they share."""

from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

LARGEST_SEED = 2**53 - 1
"""Seeds stay below 2^53, so that every JSON reader keeps them exact."""

Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
Timestamp = Annotated[AwareDatetime, Field(strict=False)]
"""A time with its zone; RFC 3339 text is read too, since queues carry JSON objects."""
Vector = Annotated[list[float], Field(min_length=3, max_length=3)]
Matrix = Annotated[list[Vector], Field(min_length=3, max_length=3)]


class StrictModel(BaseModel):
    """Immutable data: unknown fields, NaN, infinities and silent type conversions are refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
    )
