"""New versions of a model come into a running service without a failed job."""

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdvae.testing import write_tiny_model
from cdvae_service.models.local_store import LocalStore
from cdvae_service.models.publish import add, set_default
from tests.e2e.service import Service
from tests.worker.laboratory import wait_until


@pytest.fixture(scope="module")
def store(service: Service) -> LocalStore:
    return LocalStore(Path(service.variables["CDVAE_MODEL_STORE"]))


def version(folder: Path, number: int) -> Path:
    """Write a model folder `tiny` of that version with new weights."""
    model = write_tiny_model(folder, seed=number)
    card = json.loads((model / "card.json").read_text())
    (model / "card.json").write_text(json.dumps(card | {"version": str(number)}))
    return model


@pytest.fixture
def load(service: Service) -> Iterator[list[str]]:
    """Submit jobs one after the other during the block; yield their ids."""
    jobs: list[str] = []
    stop = threading.Event()

    def submit() -> None:
        while not stop.is_set():
            jobs.append(service.submit("/generate", {"num_samples": 2, "model": "tiny"}))
            service.wait(jobs[-1])

    thread = threading.Thread(target=submit)
    thread.start()
    yield jobs
    stop.set()
    thread.join()


def test_swap_under_load(
    service: Service, store: LocalStore, load: list[str], tmp_path: Path
) -> None:
    wait_until(lambda: len(load) > 3, "a few jobs")
    add(store, version(tmp_path, 2))
    at = len(load)
    wait_until(lambda: len(load) > at + 5, "jobs after the swap")
    set_default(store, "tiny@1")  # and back again
    back = len(load)
    wait_until(lambda: len(load) > back + 5, "jobs after going back")
    ended = [service.wait(job) for job in list(load)]
    assert {job["state"] for job in ended} == {"succeeded"}
    used = [job["request"]["model"] for job in ended]
    assert used[0] == used[-1] == "tiny@1"
    assert used[at + 2] == "tiny@2"
    first, second = (service.result(load[i]).json for i in (0, at + 2))
    assert first["provenance"]["weights_sha256"] != second["provenance"]["weights_sha256"]
    assert second["provenance"]["version"] == "2"


def test_an_idle_worker_takes_up_a_new_default(
    service: Service, store: LocalStore, tmp_path: Path
) -> None:
    set_default(store, "tiny")
    add(store, version(tmp_path, 3))
    wait_until(lambda: "loaded tiny@3" in service.log.read_text(), "loading before a job asks")


def test_a_version_with_other_weights_than_its_card_says_is_refused(
    service: Service, store: LocalStore, tmp_path: Path
) -> None:
    """A damaged version is copied into the store; `cdvae models add` would reject it."""
    set_default(store, "tiny@1")
    shutil.copytree(version(tmp_path, 9), store.folder / "tiny" / "9")
    weights = store.folder / "tiny" / "9" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    bad = service.wait(service.submit("/generate", {"num_samples": 1, "model": "tiny@9"}))
    assert (bad["state"], bad["error"]["code"]) == ("failed", "model_unavailable")
    good = service.wait(service.submit("/generate", {"num_samples": 1}))
    assert (good["state"], good["request"]["model"]) == ("succeeded", "tiny@1")
    # Its failures have a separate series.
    failed = 'cdvae_jobs_finished_total{kind="generate",model="tiny@9",state="failed"}'
    assert service.metrics(worker=True)[failed] == 1
