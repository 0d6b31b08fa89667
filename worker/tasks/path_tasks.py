"""Paths in latent space: from one given crystal to another, and around one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pymatgen.core.structure import Structure
from torch import Tensor

from cdvae.data.structures import to_structures
from cdvae.inference import Decoded, SamplerSpec
from cdvae.metrics.matching import match
from cdvae.nn.encoder import Latents
from cdvae_schema.crystal_records import CrystalRecord, InterpolatedRecord, VariedRecord
from cdvae_schema.job_specs import JobSpec, ResolvedInterpolate, ResolvedVary
from worker.model.engine import Engine, OnStep
from worker.tasks.crystal_inputs import read_inputs
from worker.tasks.task import Decode, Task


class Interpolate(Task):
    """Crystals between two: the ends as `reconstruct` decodes them, the others from z only."""

    def __init__(self, spec: JobSpec, engine: Engine, decode: Decode) -> None:
        assert isinstance(spec.request, ResolvedInterpolate)
        last = spec.request.num_points - 1
        self._positions = [index / last for index in range(last + 1)]
        self._engine, self._decode = engine, decode
        self._inputs = read_inputs(spec.structures)
        self._ends = engine.encode(self._inputs).means()
        self._distances: dict[int, list[float]] = {}

    def decode(
        self, crystals: range, seeds: Sequence[int], sampler: SamplerSpec, on_step: OnStep
    ) -> Decoded:
        positions = [self._positions[index] for index in crystals]
        way = Latents.of(self._engine.interpolate_latents(self._inputs, self._ends.z, positions))
        parts = [
            self._ends.select([int(position)]) if position in (0, 1) else way.select([row])
            for row, position in enumerate(positions)
        ]
        decoded = self._decode(Latents.cat(parts), seeds, sampler, on_step)
        found = self._engine.encode(decoded.crystals).z.mean
        columns = [self._engine.distance(found, z.expand_as(found)).tolist() for z in self._ends.z]
        rows = [list(row) for row in zip(*columns, strict=True)]
        self._distances |= zip(crystals, rows, strict=True)
        return decoded

    def finalize_record(self, record: CrystalRecord, structure: Structure) -> CrystalRecord:
        return InterpolatedRecord(
            **dict(record),
            position=self._positions[record.index],
            distances=self._distances[record.index],
        )


class Vary(Task):
    """Crystals like a given one."""

    def __init__(self, spec: JobSpec, engine: Engine, decode: Decode) -> None:
        assert isinstance(spec.request, ResolvedVary)
        self._request = spec.request
        self._engine, self._decode = engine, decode
        self._input = read_inputs(spec.structures)
        (self._structure,) = to_structures(self._input)
        self._z: Tensor = engine.encode(self._input).z.mean
        self._distances: dict[int, float] = {}

    def decode(
        self, crystals: range, seeds: Sequence[int], sampler: SamplerSpec, on_step: OnStep
    ) -> Decoded:
        request = self._request
        z = self._engine.perturb_latents(
            self._input, self._z, request.strength, seeds, request.keep_composition
        )
        decoded = self._decode(Latents.of(z), seeds, sampler, on_step)
        found = self._engine.encode(decoded.crystals).z.mean
        distances = self._engine.distance(found, self._z.expand_as(found)).tolist()
        self._distances |= zip(crystals, distances, strict=True)
        return decoded

    def finalize_record(self, record: CrystalRecord, structure: Structure) -> CrystalRecord:
        return VariedRecord(
            **dict(record),
            distance=self._distances[record.index],
            rmse=match(self._structure, structure),
        )

    def metrics(self, records: Sequence[CrystalRecord]) -> dict[str, Any]:
        """Return the mean distance of the variations from the given crystal."""
        found = [record.distance for record in records if isinstance(record, VariedRecord)]
        return {"distance": {"mean": float(torch.tensor(found).mean()) if found else None}}
