"""The functions that jobs call by name; see `cdvae_schema.wire.FUNCTIONS`.

Each takes a `JobSpec` as a JSON object and returns a small JSON object; the crystals are files
(`cdvae_schema.job_results`). An exception fails the job; `worker.supervisor.failures` chooses the
code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from redis import Redis

from cdvae.errors import Cancelled
from cdvae_schema.job_specs import JobSpec
from cdvae_schema.wire import FIELD_STATE
from cdvae_service.jobstore.rq_adapter import job_key
from cdvae_service.results.result_store import ResultStore
from worker.batching.dynamic_batcher import DynamicBatcher
from worker.executor.job_control import JobControl
from worker.executor.job_runner import JobRunner
from worker.executor.redis_sync import RedisSync
from worker.executor_protocol import Message
from worker.model.model_cache import ModelCache
from worker.results.analysis_pool import AnalysisPool
from worker.results.job_relaxation import Relaxer
from worker.results.result_writer import ResultWriter

Payload = dict[str, Any]


@dataclass(frozen=True)
class JobContext:
    """The services that the jobs of one process share."""

    store: ResultStore
    connection: Redis
    models: ModelCache
    analysis: AnalysisPool
    relaxer: Relaxer
    batcher: DynamicBatcher
    sync: RedisSync
    report: Callable[[Message], None]


def generate(context: JobContext, payload: Payload) -> Payload:
    """Sample crystals from the prior."""
    return _run(context, payload, "generate", "sampling")


def reconstruct(context: JobContext, payload: Payload) -> Payload:
    """Encode crystals and decode them again."""
    return _run(context, payload, "reconstruct", "sampling")


def optimize(context: JobContext, payload: Payload) -> Payload:
    """Search for crystals with a better property."""
    return _run(context, payload, "optimize", "optimizing")


def interpolate(context: JobContext, payload: Payload) -> Payload:
    """Make crystals between two given ones."""
    return _run(context, payload, "interpolate", "sampling")


def vary(context: JobContext, payload: Payload) -> Payload:
    """Make variations of a given crystal."""
    return _run(context, payload, "vary", "sampling")


def _run(context: JobContext, payload: Payload, kind: str, stage: str) -> Payload:
    """Run a job; return its state and number of crystals. stage: shown while crystals are made."""
    spec = JobSpec.model_validate(payload)
    if spec.kind != kind:
        raise ValueError(f"a {spec.kind} job was sent to {kind}")
    stages = ("starting", stage, *(["relax"] if spec.request.relax else []), "finishing")
    control = JobControl(spec.id, spec.num_samples, stages)
    with context.sync.track(control):
        try:
            engine = context.models.get(spec.model, control.check)
        except Cancelled:  # there is nothing to store yet
            return _finished(context, spec, "cancelled", 0)
        folder = ResultWriter(context.store, spec.id)
        runner = JobRunner(
            spec,
            engine,
            context.batcher,
            context.analysis,
            context.relaxer,
            control,
            folder,
            context.report,
        )
        state = runner.run()
    return _finished(context, spec, state, control.done)


def _finished(context: JobContext, spec: JobSpec, state: str, crystals: int) -> Payload:
    context.connection.hset(job_key(spec.id), FIELD_STATE, state)
    return {"state": state, "num_crystals": crystals}
