"""What the three kinds of jobs do before and after the decoding that they share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from pymatgen.core.lattice import Lattice
from pymatgen.core.periodic_table import Element
from pymatgen.core.structure import Structure
from torch import Tensor

from cdvae.crystal import CrystalBatch
from cdvae.data.structures import from_structure, to_structures
from cdvae.errors import NonFiniteSampleError
from cdvae.metrics.matching import match
from cdvae.model.encoder import Latents
from cdvae.pipeline import Decoded, SamplerSpec, crystal_seed
from cdvae.sampling.fixed import Fixed
from schema.crystals import CrystalInput, CrystalRecord, OptimizedRecord, ReconstructedRecord
from schema.jobs import JobSpec, UnderstoodGenerate, UnderstoodOptimize, UnderstoodReconstruct
from worker.batching import draw_starts, percentile, source_and_candidate
from worker.constraints import constraints_of
from worker.engine import Engine, OnStep
from worker.records import is_valid

DRAWN_TOGETHER = 16
"""Latents that are drawn between two looks at whether the job is still wanted."""


class Decode(Protocol):
    """`Engine.decode` beside other jobs; without latents they are drawn from the prior."""

    def __call__(
        self,
        latents: Latents | None,
        seeds: Sequence[int],
        sampler: SamplerSpec,
        on_level: OnStep,
        fixed: Sequence[Fixed] | None = None,
    ) -> Decoded: ...


class Task(Protocol):
    """One kind of job."""

    @property
    def stage(self) -> str:
        """What the job is said to do while crystals are made."""

    def decode(
        self, crystals: range, seeds: Sequence[int], sampler: SamplerSpec, on_step: OnStep
    ) -> Decoded:
        """These crystals of the job; raises NonFiniteSampleError with indices of this batch."""

    def complete(self, record: CrystalRecord, structure: Structure) -> CrystalRecord:
        """The record with what is particular to this kind of job."""

    def metrics(self, records: Sequence[CrystalRecord]) -> dict[str, Any]:
        """The metrics that only this kind of job has."""

    def order(self, records: Sequence[CrystalRecord]) -> list[int] | None:
        """Crystal indices in the order of presentation; None: by index."""


class Generate:
    """Crystals from the prior, or from what constraints leave of it."""

    stage = "sampling"

    def __init__(self, spec: JobSpec, engine: Engine, decode: Decode) -> None:
        assert isinstance(spec.request, UnderstoodGenerate)
        self._decode = decode
        constraints = constraints_of(spec.request)
        self._prior = engine.constrained(constraints) if constraints else None

    def decode(
        self, crystals: range, seeds: Sequence[int], sampler: SamplerSpec, on_step: OnStep
    ) -> Decoded:
        if self._prior is None:
            return self._decode(None, seeds, sampler, on_step)
        parts = []
        for start in range(0, len(seeds), DRAWN_TOGETHER):
            on_step(0, 1)
            parts.append(self._prior.draw(seeds[start : start + DRAWN_TOGETHER]))
        latents = Latents.cat([part.latents for part in parts])
        own = [seed for part in parts for seed in part.seeds]
        fixed = [one for part in parts for one in part.fixed]
        try:
            return self._prior.best(self._decode(latents, own, sampler, on_step, fixed))
        except NonFiniteSampleError as error:
            candidates = self._prior.candidates
            raise NonFiniteSampleError(sorted({i // candidates for i in error.indices})) from error

    def complete(self, record: CrystalRecord, structure: Structure) -> CrystalRecord:
        return record

    def metrics(self, records: Sequence[CrystalRecord]) -> dict[str, Any]:
        return {}

    def order(self, records: Sequence[CrystalRecord]) -> list[int] | None:
        return None


class Reconstruct:
    """Candidates for given crystals: the first decodes the posterior's mean, the others draws."""

    stage = "sampling"

    def __init__(self, spec: JobSpec, engine: Engine, decode: Decode) -> None:
        assert isinstance(spec.request, UnderstoodReconstruct)
        self._decode = decode
        self._candidates = spec.request.num_candidates
        inputs = read_inputs(spec.structures)
        self._engine = engine
        self._inputs = to_structures(inputs)
        self._posterior = engine.encode(inputs)

    def decode(
        self, crystals: range, seeds: Sequence[int], sampler: SamplerSpec, on_step: OnStep
    ) -> Decoded:
        places = [source_and_candidate(index, self._candidates) for index in crystals]
        sources = [source for source, _ in places]
        width = torch.tensor([float(candidate > 0) for _, candidate in places])
        latents = self._engine.sample_posterior(self._posterior.select(sources), seeds, width)
        return self._decode(latents, seeds, sampler, on_step)

    def complete(self, record: CrystalRecord, structure: Structure) -> CrystalRecord:
        source, _ = source_and_candidate(record.index, self._candidates)
        rmse = match(self._inputs[source], structure)
        return ReconstructedRecord(
            **dict(record), source=source, matched=rmse is not None, rmse=rmse
        )

    def metrics(self, records: Sequence[CrystalRecord]) -> dict[str, Any]:
        """An input counts as matched if any of its candidates matches; RMSE of the best one."""
        best: dict[int, float | None] = {}
        for record in records:
            assert isinstance(record, ReconstructedRecord)
            known = [x for x in (best.get(record.source), record.rmse) if x is not None]
            best[record.source] = min(known, default=None)
        matched = [rmse for rmse in best.values() if rmse is not None]
        return {
            "match_rate": len(matched) / len(best) if best else None,
            "rmse": sum(matched) / len(matched) if matched else None,
        }

    def order(self, records: Sequence[CrystalRecord]) -> list[int] | None:
        return None


class Optimize:
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


TASKS: dict[str, type[Generate] | type[Reconstruct] | type[Optimize]] = {
    "generate": Generate,
    "reconstruct": Reconstruct,
    "optimize": Optimize,
}


def read_inputs(structures: Sequence[CrystalInput]) -> CrystalBatch:
    """The given crystals in reduced cells, as the model was trained on."""
    return CrystalBatch.cat(
        [
            from_structure(
                Structure(
                    Lattice(given.lattice), list(map(Element.from_Z, given.species)), given.frac
                )
            )
            for given in structures
        ]
    )
