"""The models in memory: loading one delays only the jobs that need it."""

import threading
from pathlib import Path
from typing import Any

import pytest

from cdvae.errors import Cancelled
from cdvae.testing import write_tiny_model
from tests.waiting import HANG_SECONDS
from worker.model.model_cache import ModelCache
from worker.worker_settings import WorkerSettings


class Loader:
    """Loads stand-ins for models; `slow` only after `go` is set."""

    def __init__(self) -> None:
        self.started, self.go = threading.Event(), threading.Event()
        self.loaded: list[str] = []

    def __call__(self, folder: Path, device: str) -> Any:
        name = folder.parent.name
        if name == "slow":
            self.started.set()
            self.go.wait(HANG_SECONDS)
        if name == "broken":
            raise MemoryError
        self.loaded.append(name)
        return type("Loaded", (), {"device": device, "name": name})()


@pytest.fixture
def loader() -> Loader:
    return Loader()


@pytest.fixture
def models(tmp_path: Path, loader: Loader) -> ModelCache:
    tiny = write_tiny_model(tmp_path)
    for name in ("slow", "broken", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1").symlink_to(tiny)
    settings = WorkerSettings(
        home=tmp_path / "home", model_store=str(tmp_path), device="cpu", max_models=2
    )
    return ModelCache(settings, loader)


def cancel() -> None:
    raise Cancelled


def test_loading_a_model_delays_only_the_jobs_that_need_it(
    models: ModelCache, loader: Loader
) -> None:
    tiny = models.get("tiny")
    found: list[Any] = []
    waiting = [threading.Thread(target=lambda: found.append(models.get("slow"))) for _ in range(2)]
    for thread in waiting:
        thread.start()
    assert loader.started.wait(HANG_SECONDS)
    assert models.get("tiny", cancel) is tiny
    assert models.loaded == ["tiny@1"]
    assert models.device == "cpu"
    with pytest.raises(Cancelled):
        models.get("slow", cancel)
    loader.go.set()
    for thread in waiting:
        thread.join(HANG_SECONDS)
    assert found[0] is found[1]
    assert loader.loaded == ["tiny", "slow"]


def test_the_least_recently_used_model_goes_first(models: ModelCache, loader: Loader) -> None:
    loader.go.set()
    for name in ("tiny", "slow", "tiny", "other"):
        models.get(name)
    assert models.loaded == ["other@1", "tiny@1"]


def test_a_failed_load_is_tried_again(models: ModelCache) -> None:
    for _ in range(2):
        with pytest.raises(MemoryError):
            models.get("broken")
    assert models.get("tiny") is models.get("tiny")
