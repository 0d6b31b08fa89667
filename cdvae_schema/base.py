"""The strict base class of every type on the wire, and shared number types."""

from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

LARGEST_SEED = 2**53 - 1
"""Every JSON reader represents integers below 2^53 exactly."""

Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
Timestamp = Annotated[AwareDatetime, Field(strict=False)]
"""Time with a zone; accepts RFC 3339 text, because queues carry JSON objects."""
Vector = Annotated[list[float], Field(min_length=3, max_length=3)]
Matrix = Annotated[list[Vector], Field(min_length=3, max_length=3)]


class StrictModel(BaseModel):
    """Immutable data; rejects unknown fields, NaN, infinities and implicit conversions."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
    )
