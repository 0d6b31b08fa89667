"""Keyword arguments of the tasks and the request bodies made from them.

`cdvae_schema/requests.py` and `cdvae_schema/path_requests.py` document the fields; the service has
defaults for missing ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, TypedDict

from pydantic import BaseModel

from cdvae_client.structure_conversion import Given, as_inputs
from cdvae_schema.crystal_constraints import ElementFilter, LatticeChoice, PropertyTarget
from cdvae_schema.path_requests import InterpolateRequest, VaryRequest
from cdvae_schema.requests import (
    Direction,
    GenerateRequest,
    Objective,
    OptimizeRequest,
    Priority,
    ReconstructRequest,
    SamplerChoice,
)

Json = dict[str, Any]


class TaskFields(TypedDict, total=False):
    """Fields of every task; a dictionary can replace a nested model."""

    model: str | None
    seed: int | None
    sampler: SamplerChoice | Json | None
    priority: Priority
    relax: bool


class AtomsFields(TaskFields, total=False):
    """Fields that constrain the atoms."""

    num_atoms: int | None
    composition: str | None
    elements: ElementFilter | Json | None


class GenerateFields(AtomsFields, total=False):
    """Fields of `generate`."""

    num_samples: int
    lattice: LatticeChoice | Json | None
    spacegroup: int | None
    target: PropertyTarget | Json | None
    callback_url: str | None


class ReconstructFields(TaskFields, total=False):
    """Fields of `reconstruct`, except the crystals."""

    num_candidates: int


class OptimizeFields(AtomsFields, total=False):
    """Fields of `optimize`, except the property."""

    direction: Direction
    value: float | None
    objectives: list[Objective] | list[Json]
    num_samples: int | None
    start: Literal["dataset", "prior"] | Given | Iterable[Given]
    steps: int
    learning_rate: float
    trust_radius: float
    patience: int | None


class InterpolateFields(TaskFields, total=False):
    """Fields of `interpolate`, except the crystals."""

    num_points: int


class VaryFields(TaskFields, total=False):
    """Fields of `vary`, except the crystal."""

    strength: float
    num_samples: int
    keep_composition: bool


def generate_body(fields: GenerateFields) -> bytes:
    """Return the body of POST /generate; raises pydantic's ValidationError, a ValueError."""
    return _json(GenerateRequest.model_validate(fields))


def reconstruct_body(structures: Given | Iterable[Given], fields: ReconstructFields) -> bytes:
    """Return the body of POST /reconstruct; raises as `generate_body` does."""
    return _json(ReconstructRequest.model_validate({**fields, "structures": as_inputs(structures)}))


def optimize_body(fields: OptimizeFields) -> bytes:
    """Return the body of POST /optimize; raises as `generate_body` does."""
    given: Json = dict(fields)
    if given.get("start", "dataset") not in ("dataset", "prior"):
        given["start"] = {"structures": as_inputs(given["start"])}
    return _json(OptimizeRequest.model_validate(given))


def interpolate_body(structures: Given | Iterable[Given], fields: InterpolateFields) -> bytes:
    """Return the body of POST /interpolate; raises as `generate_body` does."""
    return _json(InterpolateRequest.model_validate({**fields, "structures": as_inputs(structures)}))


def vary_body(structure: Given, fields: VaryFields) -> bytes:
    """Return the body of POST /variations; raises as `generate_body` does."""
    (given,) = as_inputs(structure)
    return _json(VaryRequest.model_validate({**fields, "structure": given}))


def _json(request: BaseModel) -> bytes:
    return request.model_dump_json(exclude_unset=True).encode()
