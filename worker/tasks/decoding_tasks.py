"""The kinds of jobs, by name; generation and reconstruction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from pymatgen.core.structure import Structure

from cdvae.data.structures import to_structures
from cdvae.errors import NonFiniteSampleError
from cdvae.inference import Decoded, Drawn, SamplerSpec
from cdvae.metrics.matching import match
from cdvae_schema.crystal_records import Consistency, CrystalRecord, ReconstructedRecord
from cdvae_schema.job_specs import JobKind, JobSpec, ResolvedGenerate, ResolvedReconstruct
from worker.model.engine import Engine, OnStep
from worker.results.records import is_valid
from worker.tasks.crystal_inputs import read_inputs
from worker.tasks.optimization_task import Optimize
from worker.tasks.path_tasks import Interpolate, Vary
from worker.tasks.requirements import constraints_of
from worker.tasks.task import Decode, Task
from worker.tasks.work_division import source_and_candidate

DRAWS_PER_CHECK = 16
"""Latents drawn between two checks for cancellation."""


class Generate(Task):
    """Crystals from the prior, under constraints if there are any."""

    def __init__(self, spec: JobSpec, engine: Engine, decode: Decode) -> None:
        assert isinstance(spec.request, ResolvedGenerate)
        self._decode = decode
        constraints = constraints_of(spec.request)
        self._prior = engine.constrained(constraints) if constraints else None

    def decode(
        self, crystals: range, seeds: Sequence[int], sampler: SamplerSpec, on_step: OnStep
    ) -> Decoded:
        if self._prior is None:
            return self._decode(None, seeds, sampler, on_step)
        parts = []
        for start in range(0, len(seeds), DRAWS_PER_CHECK):
            on_step(0, 1)
            parts.append(self._prior.draw(seeds[start : start + DRAWS_PER_CHECK]))
        drawn = Drawn.cat(parts)
        try:
            decoded = self._decode(drawn.latents, drawn.seeds, sampler, on_step, drawn.fixed)
            return self._prior.best(drawn, decoded)
        except NonFiniteSampleError as error:
            candidates = self._prior.candidates
            raise NonFiniteSampleError(sorted({i // candidates for i in error.indices})) from error


class Reconstruct(Task):
    """Candidates for given crystals, from the posterior: first its mean, then draws."""

    def __init__(self, spec: JobSpec, engine: Engine, decode: Decode) -> None:
        assert isinstance(spec.request, ResolvedReconstruct)
        self._decode = decode
        self._candidates = spec.request.num_candidates
        inputs = read_inputs(spec.structures)
        self._engine = engine
        self._inputs = to_structures(inputs)
        self._posterior = engine.encode(inputs)
        self._consistency: dict[int, Consistency] = {}

    def decode(
        self, crystals: range, seeds: Sequence[int], sampler: SamplerSpec, on_step: OnStep
    ) -> Decoded:
        places = [source_and_candidate(index, self._candidates) for index in crystals]
        sources = [source for source, _ in places]
        width = torch.tensor([float(candidate > 0) for _, candidate in places])
        latents = self._engine.sample_posterior(self._posterior.select(sources), seeds, width)
        decoded = self._decode(latents, seeds, sampler, on_step)
        found = self._engine.consistency(latents, decoded.crystals)
        rows = zip(crystals, *(column.tolist() for column in found.columns()), strict=True)
        for index, latent_mse, score_residual, property_gap in rows:
            self._consistency[index] = Consistency(
                latent_mse=latent_mse, score_residual=score_residual, property_gap=property_gap
            )
        return decoded

    def finalize_record(self, record: CrystalRecord, structure: Structure) -> CrystalRecord:
        source, _ = source_and_candidate(record.index, self._candidates)
        rmse = match(self._inputs[source], structure)
        return ReconstructedRecord(
            **dict(record),
            source=source,
            matched=rmse is not None,
            rmse=rmse,
            consistency=self._consistency[record.index],
            rank=None,
        )

    def finalize(self, records: Sequence[CrystalRecord]) -> Sequence[CrystalRecord]:
        """Return the records with the ranks of the candidates of each source."""
        candidates: defaultdict[int, list[ReconstructedRecord]] = defaultdict(list)
        for record in records:
            assert isinstance(record, ReconstructedRecord)
            candidates[record.source].append(record)
        ranks = {
            record.index: rank
            for own in candidates.values()
            for rank, record in enumerate(sorted(own, key=_selection_score), 1)
        }
        return [record.model_copy(update={"rank": ranks[record.index]}) for record in records]

    def metrics(self, records: Sequence[CrystalRecord]) -> dict[str, Any]:
        """Return the match rate and RMSE; the best of an input's candidates counts.

        `top1` counts only the candidates of rank 1.
        """
        own = [record for record in records if isinstance(record, ReconstructedRecord)]
        return {**_matches(own), "top1": _matches([one for one in own if one.rank == 1])}

    def order(self, records: Sequence[CrystalRecord]) -> list[int] | None:
        """Return the crystals by source, the best candidate first."""
        if self._candidates == 1:
            return None
        own = [record for record in records if isinstance(record, ReconstructedRecord)]
        return [one.index for one in sorted(own, key=lambda one: (one.source, one.rank))]


def _selection_score(record: ReconstructedRecord) -> tuple[bool, float]:
    """Return a sort key: valid crystals first, then by score_residual.

    Of the three measures of consistency, its order is closest to that of the true RMSE
    (docs/lab-notebook/2026-11.md).
    """
    return not is_valid(record), record.consistency.score_residual


def _matches(records: Sequence[ReconstructedRecord]) -> dict[str, float | None]:
    """Return the share of matched sources and the mean RMSE of their best candidates."""
    best: dict[int, float | None] = {}
    for record in records:
        known = [x for x in (best.get(record.source), record.rmse) if x is not None]
        best[record.source] = min(known, default=None)
    matched = [rmse for rmse in best.values() if rmse is not None]
    return {
        "match_rate": len(matched) / len(best) if best else None,
        "rmse": sum(matched) / len(matched) if matched else None,
    }


TASKS: dict[JobKind, Callable[[JobSpec, Engine, Decode], Task]] = {
    "generate": Generate,
    "reconstruct": Reconstruct,
    "optimize": Optimize,
    "interpolate": Interpolate,
    "vary": Vary,
}
