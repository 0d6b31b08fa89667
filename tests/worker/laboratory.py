"""A laboratory for workers: it submits jobs and reads their results."""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from redis import Redis
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer

from cdvae_schema.job_results import SUMMARY, chunk_names
from cdvae_schema.job_specs import JobError, JobSpec
from cdvae_schema.wire import (
    FIELD_ERROR,
    FIELD_STATE,
    FUNCTIONS,
    WORKERS_KEY,
    WorkerPresence,
    cancel_key,
    progress_key,
    worker_key,
)
from cdvae_service.results.result_store import DirectoryStore
from tests.waiting import HANG_SECONDS

WORKER = Path(__file__).with_name("misbehaving_worker.py")


def wait_until(condition: Callable[[], Any], what: str, timeout: float = HANG_SECONDS) -> Any:
    """Return the first true value of `condition`."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen within {timeout:.0f} s")


def make_spec(kind: str, model: str, structures: list[dict[str, Any]], **fields: Any) -> JobSpec:
    """Return a complete job. fields: fields of the request that replace the usual ones."""
    common = {
        "model": f"{model}@1",
        "seed": fields.pop("seed", 7),
        "sampler": {"name": "ancestral", "nfe": 5},
        "priority": fields.pop("priority", "normal"),
    }
    summaries = [{"label": "x", "formula": "x", "num_atoms": 5} for _ in structures]
    special: dict[str, Any] = {
        "generate": {"num_samples": 3},
        "reconstruct": {"num_candidates": 1, "structures": summaries},
        "optimize": {
            "property": "formation_energy",
            "direction": "minimize",
            "value": None,
            "objectives": [{"property": "formation_energy"}],
            "num_samples": 4,
            "start": "dataset",
            "structures": summaries,
            "steps": 20,
            "learning_rate": 0.05,
            "trust_radius": 0.2,
            "patience": 4,
        },
        "interpolate": {"structures": summaries, "num_points": 5},
        "vary": {
            "structures": summaries,
            "strength": 0.3,
            "num_samples": 3,
            "keep_composition": False,
        },
    }[kind]
    return JobSpec.model_validate(
        {
            "id": uuid.uuid4().hex,
            "kind": kind,
            "created_at": datetime.now(UTC),
            "request": {"kind": kind, **common, **special, **fields},
            "structures": structures,
            **common,
        }
    )


@dataclass
class Lab:
    """One Redis, one results folder, one model store, any number of workers."""

    folder: Path
    url: str
    redis: Redis
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def store(self) -> DirectoryStore:
        return DirectoryStore(self.folder / "home" / "results")

    @property
    def log(self) -> Path:
        return self.folder / "worker.log"

    def start_worker(self, *wrapper: str, **environment: str) -> subprocess.Popen[bytes]:
        """Return a worker process that is ready for jobs. wrapper: a command that runs it."""
        before = {presence.name for presence in self.presences()}
        variables = {
            "CDVAE_HOME": str(self.folder / "home"),
            "CDVAE_REDIS_URL": self.url,
            "CDVAE_MODEL_STORE": str(self.folder / "store"),
            "CDVAE_DEVICE": "cpu",
            "CDVAE_THREADS": "1",
            "CDVAE_MAX_CONCURRENT_JOBS": "1",  # tests say when they want more
            "CDVAE_TIMEOUT_GRACE": "1",
            "CDVAE_SHUTDOWN_GRACE": "1",
            "CDVAE_WORKER_METRICS_PORT": "0",
            **environment,
        }
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*wrapper, sys.executable, str(WORKER)], env=os.environ | variables, stderr=log
            )
        self.workers.append(process)

        def ready() -> bool:
            assert process.poll() is None, self.log.read_text()
            now = [p for p in self.presences() if p.name not in before]
            return any(p.state != "starting" and p.models for p in now)

        wait_until(ready, "a ready worker")
        return process

    def presences(self) -> list[WorkerPresence]:
        texts = [self.redis.get(worker_key(n.decode())) for n in self.redis.smembers(WORKERS_KEY)]
        return [WorkerPresence.model_validate_json(text) for text in texts if text]

    def submit(
        self,
        kind: str,
        model: str = "tiny",
        structures: list[dict[str, Any]] | None = None,
        timeout: int = 60,
        **fields: Any,
    ) -> Job:
        spec = make_spec(kind, model, structures or [], **fields)
        return self.queue(spec.priority).enqueue_call(
            FUNCTIONS[spec.kind],
            args=(spec.model_dump(mode="json"),),
            job_id=spec.id,
            timeout=timeout,
            result_ttl=600,
            failure_ttl=600,
        )

    def queue(self, name: str = "normal") -> Queue:
        return Queue(name, connection=self.redis, serializer=JSONSerializer)

    def state(self, job: Job) -> str:
        status = str(job.get_status().value)
        if status != "finished":
            return status
        outcome = self.redis.hget(job.key, FIELD_STATE)
        return str(outcome.decode()) if outcome else "nothing"

    def end(self, job: Job, timeout: float = HANG_SECONDS) -> str:
        """Return the final state of the job."""
        final = ("succeeded", "cancelled", "failed")
        return str(
            wait_until(lambda: self.state(job) in final and self.state(job), job.id, timeout)
        )

    def error(self, job: Job) -> JobError:
        """Return the error of a failed job."""
        assert self.end(job) == "failed"
        return JobError.model_validate_json(self.redis.hget(job.key, FIELD_ERROR))

    def progress(self, job: Job) -> dict[str, str]:
        return {k.decode(): v.decode() for k, v in self.redis.hgetall(progress_key(job.id)).items()}

    def cancel(self, job: Job) -> None:
        self.redis.set(cancel_key(job.id), "1", ex=60)

    def crystals(self, job: Job) -> list[dict[str, Any]]:
        """Return the stored records."""
        names = chunk_names(self.store.names(job.id))
        return [c for name in names for c in json.loads(self.store.read(job.id, name))]

    def summary(self, job: Job) -> dict[str, Any]:
        return dict(json.loads(self.store.read(job.id, SUMMARY)))


def executors(worker: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return the executors of a worker."""
    return psutil.Process(worker.pid).children()
