"""From a job specification to a stored result."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Literal

from pymatgen.core.structure import Structure
from torch import Tensor

from cdvae.data.structures import to_structures
from cdvae.errors import Cancelled, NonFiniteSampleError
from cdvae.inference import SamplerSpec, crystal_seed
from cdvae.metrics.fingerprint import Fingerprint
from cdvae.metrics.matching import duplicates
from cdvae_schema.crystal_records import CrystalRecord
from cdvae_schema.job_specs import JobSpec
from cdvae_schema.outcomes import ResultSummary, Seconds
from cdvae_schema.wire import QUEUES
from worker.batching.dynamic_batcher import DynamicBatcher
from worker.executor.job_control import JobControl
from worker.executor_protocol import Message
from worker.model.engine import Engine
from worker.results.analysis import CrystalAnalysis, CrystalProvenance, CrystalSlice, analyze
from worker.results.analysis_pool import AnalysisPool
from worker.results.job_relaxation import Relaxer, relax_all, relaxation_metrics
from worker.results.job_summary import chunk_message, evaluations_of, metrics_of
from worker.results.provenance import provenance
from worker.results.records import make_record
from worker.results.result_writer import Chunk, ResultWriter
from worker.tasks.decoding_tasks import TASKS
from worker.tasks.task import Decode, Task
from worker.tasks.work_division import Work, resumed

Report = Callable[[Message], None]
State = Literal["succeeded", "cancelled"]

CANCEL_SECONDS = 2.0  # s that the search for duplicates may take after a cancellation


class JobRunner:
    """One job on one model. `run` does all of it and may be called once.

    It resumes after the chunks that are in `folder`. On the same kind of CPU no bit of a crystal
    depends on its chunk, or on the jobs that share its batches.
    """

    def __init__(
        self,
        spec: JobSpec,
        engine: Engine,
        batcher: DynamicBatcher,
        analysis: AnalysisPool,
        relaxer: Relaxer,
        control: JobControl,
        folder: ResultWriter,
        report: Report,
    ) -> None:
        self._spec, self._engine, self._control = spec, engine, control
        self._decode: Decode = partial(batcher.decode, engine, spec.priority == QUEUES[0])
        self._folder, self._report = folder, report
        self._analysis, self._relaxer = analysis, relaxer
        nfe = [one for chunk in folder.chunks for one in chunk.nfe]
        finished = [chunk.crystals for chunk in folder.chunks]
        divided = engine.chunks(spec.num_samples, searched=spec.kind == "optimize")
        chunks = resumed(divided, finished)
        self._work = Work(spec.num_samples, chunks)
        self._origin = CrystalProvenance(
            model=engine.reference,
            weights_sha256=engine.model.weights_sha256,
            seed=spec.seed,
            sampler=spec.sampler.name,
        )
        self._findings = analyze(CrystalSlice.of(folder.structures(), 0, nfe, self._origin))
        self._queue_seconds = max(0.0, (datetime.now(UTC) - spec.created_at).total_seconds())
        self._sample_seconds = self._check_seconds = self._relax_seconds = 0.0

    def run(self) -> State:
        """Make, check and store the crystals; a cancelled job keeps those that are finished.

        Raises NonFiniteSampleError with the indices of the job's crystals.
        """
        before = self._folder.summary()
        if before is not None:
            self._control.finish(int(before.metrics["num_samples"]))
            return before.state
        state: State = "succeeded"
        task: Task | None = None
        try:
            self._control.check()
            begun = time.perf_counter()
            task = TASKS[self._spec.kind](self._spec, self._engine, self._decode)
            self._sample_seconds += time.perf_counter() - begun
            self._control.stage(task.stage)
            self._control.crystals_done(len(self._folder.records()))
            for number, crystals in list(enumerate(self._work.chunks))[len(self._folder.chunks) :]:
                self._chunk(task, number, crystals)
            if self._spec.request.relax:
                self._relax()
        except Cancelled:
            state = "cancelled"
        return self._finish(task, state)

    def _chunk(self, task: Task, number: int, crystals: range) -> None:
        """Make, check and store one chunk."""

        def on_level(level: int, levels: int) -> None:
            self._control.level(self._work.fraction(number, level, levels))

        begun = time.perf_counter()
        seeds = [crystal_seed(self._spec.seed, index) for index in crystals]
        sampler = SamplerSpec(self._spec.sampler.name, self._spec.sampler.nfe)
        try:
            decoded = task.decode(crystals, seeds, sampler, on_level)
        except NonFiniteSampleError as error:
            raise NonFiniteSampleError([crystals[index] for index in error.indices]) from error
        columns = {name: values.tolist() for name, values in decoded.properties.items()}
        structures = to_structures(decoded.crystals)
        sampled = time.perf_counter()
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        bad = [i for i, row in zip(crystals, rows, strict=True) if not _finite(row)]
        if bad:
            raise NonFiniteSampleError(bad)
        records: list[CrystalRecord] = []
        # The analysis may take seconds; a cancelled job keeps the crystals that are analyzed.
        findings = self._analysis.findings(
            structures,
            crystals.start,
            decoded.nfe.tolist(),
            self._origin,
            lambda: on_level(1, 1),
        )
        try:
            for index, structure, row, finding in zip(
                crystals, structures, rows, findings, strict=True
            ):
                records.append(self._record(task, index, structure, row, finding))
        except Cancelled:
            self._keep(records, structures, decoded.nfe)
            raise
        self._sample_seconds += sampled - begun
        self._check_seconds += time.perf_counter() - sampled
        self._keep(records, structures, decoded.nfe)

    def _keep(
        self, records: list[CrystalRecord], structures: Sequence[Structure], evaluations: Tensor
    ) -> None:
        """Store a chunk of the records and of as many structures, unless there is none."""
        if not records:
            return
        own = list(structures[: len(records)])
        self._folder.add(Chunk(records, own, evaluations[: len(own)].tolist()))
        self._control.crystals_done(len(records))
        self._report(chunk_message(self._engine, self._folder.chunks[-1]))

    def _relax(self) -> None:
        """Relax the crystals, except in chunks that an earlier attempt relaxed."""
        self._control.stage("relax")
        begun = time.perf_counter()
        relax_all(self._relaxer, self._folder, self._origin, self._control.level)
        self._relax_seconds += time.perf_counter() - begun

    def _record(
        self,
        task: Task,
        index: int,
        structure: Structure,
        predicted: dict[str, float],
        finding: CrystalAnalysis,
    ) -> CrystalRecord:
        self._findings.append(finding)
        has_cell = finding.report.volume is not None
        novel = self._engine.is_novel(finding.fingerprint) if has_cell else None
        record = make_record(index, structure, finding, predicted, novel)
        return task.finalize_record(record, structure)

    def _seconds(self) -> Seconds:
        return Seconds(
            queue=self._queue_seconds,
            sample=self._sample_seconds,
            check=self._check_seconds,
            relax=self._relax_seconds,
        )

    def _finish(self, task: Task | None, state: State) -> State:
        """Store the summary of the crystals that are stored; return the final state."""
        self._control.stage("finishing")
        begun = time.perf_counter()
        fingerprints = [finding.fingerprint for finding in self._findings]
        structures = self._folder.structures()
        equal, cancelled = compare(structures, fingerprints, self._control.check)
        if cancelled:
            state = "cancelled"
        self._folder.mark_duplicates(equal or [None] * len(structures))
        if task is not None:
            self._folder.replace(task.finalize(self._folder.records()))
        records = self._folder.records()
        reports = [finding.report for finding in self._findings]
        metrics = metrics_of(records, reports, equal, self._engine.statistics())
        if task is not None:
            metrics |= task.metrics(records)
        if self._spec.request.relax:
            metrics["relaxation"] = relaxation_metrics(records)
        self._check_seconds += time.perf_counter() - begun
        self._folder.finish(
            ResultSummary(
                state=state,
                metrics=metrics,
                provenance=provenance(
                    self._spec, self._engine, evaluations_of(self._folder.chunks), self._seconds()
                ),
                order=None if task is None else task.order(records),
            )
        )
        if state == "succeeded":
            self._control.finish(len(records))
        return state


def compare(
    structures: Sequence[Structure],
    fingerprints: Sequence[Fingerprint | None],
    check: Callable[[], None],
    clock: Callable[[], float] = time.monotonic,
) -> tuple[list[int | None] | None, bool]:
    """Return the duplicates (see `duplicates`), and whether the job was cancelled.

    The comparison of 10,000 crystals takes minutes: it ends CANCEL_SECONDS after the cancellation,
    and the duplicates are then None. `check` raises Cancelled from the cancellation on.
    """
    end = math.inf

    def on_step() -> None:
        nonlocal end
        try:
            check()
        except Cancelled:
            end = min(end, clock() + CANCEL_SECONDS)
            if clock() >= end:
                raise

    try:
        return duplicates(structures, fingerprints, on_step), end < math.inf
    except Cancelled:
        return None, True


def _finite(row: dict[str, float]) -> bool:
    return all(math.isfinite(value) for value in row.values())
