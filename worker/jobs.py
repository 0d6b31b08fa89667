"""The three functions that RQ calls, by name; see `schema.wire.FUNCTIONS`.

Each takes a `JobSpec` as a JSON object and returns a small JSON object; the crystals are files
(`schema.results`). An exception fails the job with the code that `worker.failures` gives it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis
from rq import get_current_job

from schema.jobs import JobSpec
from schema.wire import META_STATE
from worker.control import Control
from worker.horse_process import Message
from worker.models import Models
from worker.records import ResultFolder
from worker.runner import Runner

Payload = dict[str, Any]


@dataclass(frozen=True)
class Context:
    """What the jobs of one process share."""

    home: Path
    connection: Redis
    models: Models
    report: Callable[[Message], None]


def generate(context: Context, payload: Payload) -> Payload:
    """Sample crystals from the prior."""
    return _run(context, payload, "generate", ("starting", "sampling", "finishing"))


def reconstruct(context: Context, payload: Payload) -> Payload:
    """Encode crystals and decode them again."""
    return _run(context, payload, "reconstruct", ("starting", "sampling", "finishing"))


def optimize(context: Context, payload: Payload) -> Payload:
    """Search for crystals with a better property."""
    return _run(context, payload, "optimize", ("starting", "optimizing", "finishing"))


def _run(context: Context, payload: Payload, kind: str, stages: tuple[str, ...]) -> Payload:
    """The job's state and how many crystals it made."""
    spec = JobSpec.model_validate(payload)
    if spec.kind != kind:
        raise ValueError(f"a {spec.kind} job was sent to {kind}")
    control = Control(context.connection, spec.id, spec.num_samples, stages)
    control.stage("starting")
    engine = context.models.get(spec.model)
    folder = ResultFolder(context.home, spec.id)
    state = Runner(spec, engine, control, folder, context.report).run()
    job = get_current_job()
    if job is not None:
        job.meta[META_STATE] = state
        job.save_meta()  # type: ignore[no-untyped-call]
    return {"state": state, "num_crystals": control.done}
