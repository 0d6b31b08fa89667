"""The models in memory."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from pathlib import Path
from typing import TYPE_CHECKING

from cdvae.errors import ModelStoreError
from cdvae_service.models import open_store
from cdvae_service.models.store_errors import StoreError, UnknownModelError
from worker.worker_settings import WorkerSettings

if TYPE_CHECKING:
    from cdvae_service.models.local_store import LocalStore
    from worker.model.engine import Engine

log = logging.getLogger(__name__)

POLL_INTERVAL = 0.2  # s between two calls of `on_wait` by a waiting job

LoadEngine = Callable[[Path, str], "Engine"]


def load_engine(folder: Path, device: str) -> Engine:
    """Load the model in `folder`; raises ModelStoreError."""
    from cdvae.model_folder import load_model
    from worker.model.engine import Engine

    return Engine(load_model(folder, device))


def model_store(settings: WorkerSettings) -> LocalStore:
    """Return the store that the settings name; copies of a remote one are in the home folder."""
    return open_store(settings.model_store, settings.home / "models")


class ModelCache:
    """The models of one process, at most `settings.max_models`: a least-recently-used cache.

    One thread downloads and loads models, one at a time; the threads of jobs wait for their own
    model only.
    """

    def __init__(self, settings: WorkerSettings, load: LoadEngine) -> None:
        self._settings = settings
        self._load = load
        self._store = model_store(settings)
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._loading: dict[str, Future[Engine]] = {}
        self._lock = threading.Lock()  # held for moments only
        self._loader = ThreadPoolExecutor(1, "load-model")
        self._followed: dict[str | None, tuple[str, str]] = {}

    @property
    def loaded(self) -> list[str]:
        """The models in memory as `name@version`."""
        with self._lock:
            return sorted(self._engines)

    @property
    def device(self) -> str:
        """The device of the models, in words; empty before the first model is loaded."""
        with self._lock:
            engine = next(iter(self._engines.values()), None)
        return "" if engine is None else engine.device

    def preload(self) -> None:
        """Load the models that the settings name; raises ModelStoreError."""
        try:
            self._store.refresh()
        except StoreError as error:
            log.warning("using the models that are here: %s", error)
        wanted: list[str | None] = [*self._settings.preload] or [None]
        for reference in wanted:
            self.get(reference)
            self._followed[reference] = self._store.resolve(reference)

    def follow(self) -> bool:
        """Load new versions of the preloaded models; return whether there are any.

        A version that cannot be loaded is noted in the log and not tried again.
        """
        try:
            self._store.refresh()
            current = {reference: self._store.resolve(reference) for reference in self._followed}
            changed = [
                reference
                for reference in current
                if current[reference] != self._followed[reference]
            ]
            self._followed = current
            for reference in changed:
                self.get(reference)
        except (StoreError, ModelStoreError) as error:
            log.error("the model store: %s", error)
            return False
        return bool(changed)

    def get(self, reference: str | None, on_wait: Callable[[], object] = lambda: None) -> Engine:
        """Return the model that `reference` means; load it if it is not in memory.

        `on_wait` is called a few times a second while the model is loaded, and may raise to stop.
        Raises ModelStoreError.
        """
        try:
            name, version = self._resolve(reference)
        except StoreError as error:
            raise ModelStoreError(str(error)) from error
        key = f"{name}@{version}"
        with self._lock:
            if key in self._engines:
                self._engines.move_to_end(key)
                return self._engines[key]
            if key not in self._loading:
                self._loading[key] = self._loader.submit(
                    copy_context().run, self._load_into_memory, name, version
                )
            loading = self._loading[key]
        while not wait([loading], POLL_INTERVAL).done:
            on_wait()
        return loading.result()

    def _load_into_memory(self, name: str, version: str) -> Engine:
        key = f"{name}@{version}"
        try:
            engine = self._load(self._store.path(name, version), self._device())
        except StoreError as error:
            raise ModelStoreError(str(error)) from error
        else:
            with self._lock:
                while len(self._engines) >= self._settings.max_models:
                    self._engines.popitem(last=False)
                self._engines[key] = engine
            log.info("loaded %s on %s", key, engine.device)
            return engine
        finally:
            with self._lock:
                del self._loading[key]

    def _resolve(self, reference: str | None) -> tuple[str, str]:
        try:
            return self._store.resolve(reference)
        except UnknownModelError:
            self._store.refresh()  # it may be newer than the last look
            return self._store.resolve(reference)

    def _device(self) -> str:
        if self._settings.device != "auto":
            return self._settings.device
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"
