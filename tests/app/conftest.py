"""A model store of files, the application over a real Redis, and a stand-in for the worker."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from redis import Redis
from rq.executions import Execution
from rq.job import Job
from rq.serializers import JSONSerializer

from app.api_settings import Settings
from app.application import create_app
from cdvae_schema.job_results import SUMMARY, chunk_name
from cdvae_schema.job_specs import JobSpec
from cdvae_schema.wire import (
    FIELD_ERROR,
    FIELD_STATE,
    PRESENCE_TTL,
    QUEUES,
    WORKERS_KEY,
    WorkerPresence,
    progress_key,
    worker_key,
)
from cdvae_service.results.result_store import DirectoryStore
from worker.supervisor.leases import Leases

CARD: dict[str, Any] = {
    "name": "tiny",
    "version": "1",
    "description": "Five-atom perovskites",
    "dataset": "none",
    "license": "MIT",
    "created_at": "2026-01-02T03:04:05Z",
    "commit": "0000000",
    "weights_sha256": "ab" * 32,
    "files_sha256": {"config.toml": "cd" * 32},
    "limits": {
        "max_num_samples": 100,
        "max_structures": 10,
        "min_atoms": 5,
        "max_atoms": 5,
        "elements": ["Sr", "Ti", "O", "Ba", "H"],
    },
    "properties": {
        "formation_energy": {
            "unit": "eV",
            "description": "Heat of formation",
            "source": "heat_ref",
            "percentiles": {"5": 0.1, "10": 0.2, "15": 0.3},
        }
    },
    "samplers": {
        "ancestral": {"default_nfe": 50, "max_nfe": 100, "multiple_of": 1},
        "langevin": {"default_nfe": 5000, "max_nfe": 5000, "multiple_of": 50},
    },
    "data": {"train": 1, "val": 1, "test": 1},
    "quality": {},
}

SITES = """loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Sr1 Sr 0 0 0 1
Ti1 Ti 0.5 0.5 0.5 1
O1 O 0.5 0.5 0 1
"""
CELL = """_cell_length_a 3.905
_cell_length_b 3.905
_cell_length_c 3.905
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
"""
GROUP = "_symmetry_space_group_name_H-M 'P m -3 m'\n"
CIF = f"data_SrTiO3\n{CELL}{GROUP}{SITES}"


def pymatgen_dict(**changes: Any) -> dict[str, Any]:
    """Return pymatgen's `Structure.as_dict()` of cubic SrTiO3."""
    positions = {
        "Sr": [[0.0, 0.0, 0.0]],
        "Ti": [[0.5, 0.5, 0.5]],
        "O": [[0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.0, 0.5, 0.5]],
    }
    return {
        "@module": "pymatgen.core.structure",
        "@class": "Structure",
        "charge": 0,
        "lattice": {
            "matrix": [[3.905, 0.0, 0.0], [0.0, 3.905, 0.0], [0.0, 0.0, 3.905]],
            "pbc": [True, True, True],
        },
        "properties": {},
        "sites": [
            {"species": [{"element": symbol, "occu": 1}], "abc": abc, "properties": {}}
            for symbol, rows in positions.items()
            for abc in rows
        ],
        **changes,
    }


def write_card(store: Path, **changes: Any) -> Path:
    """Write a model folder with only a card."""
    card = {**CARD, **changes}
    path = store / card["name"] / card["version"] / "card.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(card))
    return path


def record(index: int, **changes: Any) -> dict[str, Any]:
    """Return a crystal record as a worker writes it."""
    return {
        "index": index,
        "formula": "Sr1 Ti1 O3",
        "reduced_formula": "SrTiO3",
        "num_atoms": 5,
        "cif": f"# index {index}\n{CIF}",
        "lattice": {
            "a": 3.905,
            "b": 3.905,
            "c": 3.905,
            "alpha": 90.0,
            "beta": 90.0,
            "gamma": 90.0,
            "matrix": [[3.905, 0.0, 0.0], [0.0, 3.905, 0.0], [0.0, 0.0, 3.905]],
        },
        "volume": 59.5,
        "density": 5.1,
        "spacegroup": {"number": 221, "symbol": "Pm-3m"},
        "min_distance": 1.95,
        "valid": {"structure": True, "composition": True},
        "predicted": {"formation_energy": 0.1},
        "novel": True,
        "duplicate_of": None,
        **changes,
    }


class StandInWorker:
    """Stand-in for a worker: changes Redis and the result folder one step at a time."""

    def __init__(self, redis: Redis, home: Path, name: str = "w1") -> None:
        self.redis = redis
        self.store = DirectoryStore(home / "results")
        self.name = name
        self.ledger = Leases(redis, name)

    def announce(
        self,
        models: tuple[str, ...] = ("tiny@1",),
        state: str = "idle",
        relax: bool = False,
        metrics_error: str = "",
    ) -> None:
        presence = WorkerPresence.model_validate(
            {
                "name": self.name,
                "state": state,
                "models": list(models),
                "device": "cpu",
                "hostname": "here",
                "pid": 1,
                "started_at": "2026-01-02T03:04:05Z",
                "relax": relax,
                "metrics_error": metrics_error,
            }
        )
        self.redis.sadd(WORKERS_KEY, self.name)
        self.redis.set(worker_key(self.name), presence.model_dump_json(), ex=PRESENCE_TTL)

    def vanish(self) -> None:
        self.redis.delete(worker_key(self.name))

    def take(self) -> tuple[Job, JobSpec]:
        """Take the next job and start it."""
        job_id = self.ledger.take(QUEUES)
        assert job_id is not None
        job = Job.fetch(job_id, connection=self.redis, serializer=JSONSerializer)
        with self.redis.pipeline() as pipe:
            job.prepare_for_execution(self.name, pipe)
            Execution.create(job, ttl=90, pipeline=pipe, worker_name=self.name)
            pipe.execute()
        return job, JobSpec.model_validate(job.args[0])

    def progress(self, job: Job, **fields: str) -> None:
        self.redis.hset(progress_key(job.id), mapping=fields)

    def write(self, job: Job, chunks: list[list[dict[str, Any]]], **summary: Any) -> None:
        """Write chunks, and the summary unless `state` is None."""
        for number, chunk in enumerate(chunks):
            self.store.write(job.id, chunk_name(number), json.dumps(chunk))
        spec = JobSpec.model_validate(job.args[0])
        content = {
            "state": "succeeded",
            "metrics": {"num_samples": sum(map(len, chunks))},
            "provenance": {
                "model": "tiny",
                "version": "1",
                "weights_sha256": "ab" * 32,
                "seed": spec.seed,
                "sampler": spec.sampler.model_dump(),
                "nfe": 50,
                "device": "cpu",
                "software": {"cdvae": "0"},
                "seconds": {"queue": 0.1, "sample": 1.0, "check": 0.2},
            },
            "order": None,
            **summary,
        }
        if content["state"] is not None:
            self.store.write(job.id, SUMMARY, json.dumps(content))

    def end(self, job: Job, status: str, state: str | None = None) -> None:
        """End the job as RQ does, 'finished' or 'failed', and return its lease."""
        if state is not None:
            self.redis.hset(job.key, FIELD_STATE, state)
        with self.redis.pipeline() as pipe:
            job.set_status(status, pipeline=pipe)
            if status == "failed":
                job._handle_failure("Traceback: KeyError in /secret/path", pipe)
            for execution in job.get_executions():
                execution.delete(job, pipe)
            pipe.execute()
        assert self.ledger.settle(job.id, "return") == "over"

    def fail(self, job: Job, error: dict[str, str] | None) -> None:
        if error is not None:
            self.redis.hset(job.key, FIELD_ERROR, json.dumps(error))
        self.end(job, "failed")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A model store with the model `tiny`."""
    folder = tmp_path / "model_store"
    write_card(folder)
    (folder / "default.txt").write_text("tiny\n")
    return folder


MakeClient = Callable[..., TestClient]


@pytest.fixture
def make_client(tmp_path: Path, store: Path) -> Iterator[MakeClient]:
    """Return a function that makes a client of an application with the given settings."""
    opened: list[TestClient] = []

    def make(**changes: Any) -> TestClient:
        settings = {"home": tmp_path / "home", "model_store": str(store), **changes}
        client = TestClient(
            create_app(Settings(**settings)),
            base_url="http://localhost",
            raise_server_exceptions=False,
        )
        opened.append(client.__enter__())
        return client

    yield make
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def client(make_client: MakeClient, redis_url: str) -> TestClient:
    """A client of the application over the test server."""
    return make_client(redis_url=redis_url)


@pytest.fixture
def worker(redis_client: Redis, tmp_path: Path) -> StandInWorker:
    """A worker that the test controls."""
    return StandInWorker(redis_client, tmp_path / "home")
