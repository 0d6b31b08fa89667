"""Jobs that search for crystals with a better property."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pymatgen.core.structure import Structure
from torch import Tensor

from cdvae.pipeline import Decoded, SamplerSpec, crystal_seed
from schema.crystals import CrystalRecord, OptimizedRecord
from schema.jobs import JobSpec, UnderstoodOptimize
from worker.batching import draw_starts, percentile
from worker.engine import Engine, OnStep
from worker.inputs import read_inputs
from worker.records import is_valid
from worker.task import Decode, Task


class Optimize(Task):
    """The best crystals of searches that begin at given, sampled or known crystals."""

    stage = "optimizing"

    def __init__(self, spec: JobSpec, engine: Engine, decode: Decode) -> None:
        request = spec.request
        assert isinstance(request, UnderstoodOptimize)
        self._request = request
        self._engine = engine
        self._quantiles = engine.statistics()["property_quantiles"][request.property]
        self._percentiles = engine.model.card["properties"][request.property]["percentiles"]
        self._latents = self._starts(spec, engine)
        self._start_values = engine.predict(self._latents)[request.property].tolist()
        self._trajectories: dict[int, list[float]] = {}

    def _starts(self, spec: JobSpec, engine: Engine) -> Tensor:
        number = self._request.num_samples
        if self._request.start == "structures":
            mean = engine.encode(read_inputs(spec.structures)).z.mean
            return mean[torch.arange(number, device=mean.device) % len(mean)]
        if self._request.start == "prior":
            return engine.sample_latents([crystal_seed(spec.seed, i) for i in range(number)]).z
        latents = engine.data_latents()
        return latents[draw_starts(len(latents), number, spec.seed)]

    def decode(
        self, crystals: range, seeds: Sequence[int], sampler: SamplerSpec, on_step: OnStep
    ) -> Decoded:
        request = self._request
        decoded, trajectories = self._engine.optimise(
            self._latents[crystals.start : crystals.stop],
            seeds,
            sampler,
            on_step,
            prop=request.property,
            direction=request.direction,
            value=request.value,
            steps=request.steps,
            learning_rate=request.learning_rate,
        )
        self._trajectories |= zip(crystals, trajectories, strict=True)
        return decoded

    def complete(self, record: CrystalRecord, structure: Structure) -> CrystalRecord:
        given = len(self._request.structures)
        return OptimizedRecord(
            **dict(record),
            source=record.index % given if given else None,
            start_value=self._start_values[record.index],
            trajectory=self._trajectories[record.index],
            percentile=percentile(record.predicted[self._request.property], self._quantiles),
        )

    def metrics(self, records: Sequence[CrystalRecord]) -> dict[str, Any]:
        """The share of starts that end in a valid crystal among the best 5, 10, 15 % of the data.

        Null for a target value, which has no better and worse side.
        """
        if self._request.direction == "target" or not records:
            return {"success_rate": None}
        rates = {}
        for percent in ("5", "10", "15"):
            successes = [r for r in records if is_valid(r) and self._reaches(r, percent)]
            rates[percent] = len(successes) / len(records)
        return {"success_rate": rates}

    def _reaches(self, record: CrystalRecord, percent: str) -> bool:
        value = record.predicted[self._request.property]
        if self._request.direction == "minimize":
            return bool(value <= self._percentiles[percent])
        return bool(value >= self._quantiles[100 - int(percent)])

    def order(self, records: Sequence[CrystalRecord]) -> list[int] | None:
        """Best predicted value first."""

        def badness(record: CrystalRecord) -> float:
            value = record.predicted[self._request.property]
            if self._request.direction == "target":
                assert self._request.value is not None
                return abs(value - self._request.value)
            return value if self._request.direction == "minimize" else -value

        return [record.index for record in sorted(records, key=badness)]
