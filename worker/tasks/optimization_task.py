"""Jobs that search for crystals with better properties."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from pymatgen.core.structure import Structure

from cdvae.inference import Decoded, SamplerSpec, crystal_seed
from cdvae.nn.encoder import Latents
from cdvae.optimization.objective import PropertyObjective
from cdvae_schema.crystal_records import CrystalRecord, ObjectiveOutcome, OptimizedRecord
from cdvae_schema.job_specs import JobSpec, ResolvedOptimize
from worker.model.engine import Engine, Found, OnStep
from worker.results.records import is_valid
from worker.tasks.crystal_inputs import read_inputs
from worker.tasks.requirements import constraints_of
from worker.tasks.task import Decode, Task
from worker.tasks.work_division import draw_starts, percentile


class Optimize(Task):
    """The best crystals of searches that start at given, sampled or known crystals."""

    stage = "optimizing"

    def __init__(self, spec: JobSpec, engine: Engine, decode: Decode) -> None:
        request = spec.request
        assert isinstance(request, ResolvedOptimize)
        self._request = request
        self._engine = engine
        self._objectives = [
            PropertyObjective(one.property, one.direction, one.value, one.weight)
            for one in request.objectives
        ]
        self._quantiles = engine.statistics()["property_quantiles"]
        self._card = engine.model.card["properties"]
        constraints = constraints_of(request)
        self._composition_filter = engine.composition_filter(constraints) if constraints else None
        self._latents = self._starts(spec, engine)
        self._start_values = {
            name: values.tolist() for name, values in engine.predict(self._latents.z).items()
        }
        self._found: dict[int, Found] = {}

    def _starts(self, spec: JobSpec, engine: Engine) -> Latents:
        number = self._request.num_samples
        if self._request.start == "structures":
            means = engine.encode(read_inputs(spec.structures)).means()
            return means.select([i % len(means) for i in range(number)])
        if self._request.start == "prior":
            return engine.sample_latents([crystal_seed(spec.seed, i) for i in range(number)])
        latents = engine.data_latents()
        if self._composition_filter is not None:
            fine = self._composition_filter.allows_latents(latents)
            latents = latents[fine] if fine.any() else latents
        return Latents.of(latents[draw_starts(len(latents), number, spec.seed)])

    def decode(
        self, crystals: range, seeds: Sequence[int], sampler: SamplerSpec, on_step: OnStep
    ) -> Decoded:
        request = self._request
        decoded, found = self._engine.optimize(
            self._latents.select(crystals),
            seeds,
            sampler,
            on_step,
            objectives=self._objectives,
            steps=request.steps,
            learning_rate=request.learning_rate,
            trust_radius=request.trust_radius,
            patience=request.patience,
            composition_filter=self._composition_filter,
        )
        self._found |= zip(crystals, found, strict=True)
        return decoded

    def finalize_record(self, record: CrystalRecord, structure: Structure) -> CrystalRecord:
        given = len(self._request.structures)
        outcomes = [self._outcome(objective.prop, record) for objective in self._objectives]
        first = outcomes[0]
        return OptimizedRecord(
            **dict(record),
            source=record.index % given if given else None,
            start_value=first.start_value,
            trajectory=first.trajectory,
            percentile=first.percentile,
            objectives=outcomes,
        )

    def _outcome(self, prop: str, record: CrystalRecord) -> ObjectiveOutcome:
        progress = self._found[record.index][prop]
        return ObjectiveOutcome(
            property=prop,
            start_value=self._start_values[prop][record.index],
            trajectory=progress.trajectory,
            percentile=percentile(record.predicted[prop], self._quantiles[prop]),
            predicted_gain=progress.predicted_gain,
            validated_gain=progress.validated_gain,
            gap=progress.predicted_gain - progress.validated_gain,
        )

    def metrics(self, records: Sequence[CrystalRecord]) -> dict[str, Any]:
        """Return the success rates and, by property, the mean gains by head and property model.

        A start succeeds if it ends in a valid crystal that is among the best 5, 10, 15 % of the
        data in every property. The rates are null if a property has a target value, because a
        target has no better and worse side.
        """
        own = [record for record in records if isinstance(record, OptimizedRecord)]
        gains = {}
        for column, objective in enumerate(self._objectives):
            outcomes = [record.objectives[column] for record in own]
            gains[objective.prop] = {
                "head": fmean(one.predicted_gain for one in outcomes) if outcomes else None,
                "property_model": fmean(one.validated_gain for one in outcomes)
                if outcomes
                else None,
                "gap": fmean(abs(one.gap) for one in outcomes) if outcomes else None,
            }
        return {"success_rate": self._success(own), "gain": gains}

    def _success(self, records: Sequence[OptimizedRecord]) -> dict[str, float] | None:
        if not records or any(one.direction == "target" for one in self._objectives):
            return None
        rates = {}
        for percent in ("5", "10", "15"):
            successes = [r for r in records if is_valid(r) and self._reaches(r, percent)]
            rates[percent] = len(successes) / len(records)
        return rates

    def _reaches(self, record: CrystalRecord, percent: str) -> bool:
        def reached(objective: PropertyObjective) -> bool:
            value = record.predicted[objective.prop]
            if objective.direction == "minimize":
                return bool(value <= self._card[objective.prop]["percentiles"][percent])
            return bool(value >= self._quantiles[objective.prop][100 - int(percent)])

        return all(map(reached, self._objectives))

    def order(self, records: Sequence[CrystalRecord]) -> list[int] | None:
        """Return the crystals in ascending order of their cost."""
        names = [objective.prop for objective in self._objectives]
        columns = {name: [record.predicted[name] for record in records] for name in names}
        cost = self._engine.cost(self._objectives, columns)
        ranked = sorted(zip(cost, records, strict=True), key=lambda pair: pair[0])
        return [record.index for _, record in ranked]
