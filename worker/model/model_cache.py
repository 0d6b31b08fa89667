"""The models in memory."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
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

LoadEngine = Callable[[Path, str], "Engine"]


def load_engine(folder: Path, device: str) -> Engine:
    """Load the model in `folder`; raises ModelStoreError."""
    from cdvae.model_folder import load_model
    from worker.model.engine import Engine

    return Engine(load_model(folder, device))


def model_store(settings: WorkerSettings) -> LocalStore:
    """The store that the settings name, a remote one with its copy in the home folder."""
    return open_store(settings.model_store, settings.home / "models")


class ModelCache:
    """The models of one process, at most `settings.max_models` of them, least used go first.

    Jobs ask for them from threads of their own.
    """

    def __init__(self, settings: WorkerSettings, load: LoadEngine) -> None:
        self._settings = settings
        self._load = load
        self._store = model_store(settings)
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._lock = threading.RLock()
        self._followed: dict[str | None, tuple[str, str]] = {}

    @property
    def loaded(self) -> list[str]:
        """`name@version` of every model in memory."""
        with self._lock:
            return sorted(self._engines)

    @property
    def device(self) -> str:
        """The device of the models, in words; empty before the first is loaded."""
        with self._lock:
            engine = next(iter(self._engines.values()), None)
        return "" if engine is None else engine.device

    def preload(self) -> None:
        """Load what the settings name; raises ModelStoreError."""
        try:
            self._store.refresh()
        except StoreError as error:
            log.warning("using the models that are here: %s", error)
        wanted: list[str | None] = [*self._settings.preload] or [None]
        for reference in wanted:
            self.get(reference)
            self._followed[reference] = self._store.resolve(reference)

    def follow(self) -> bool:
        """Load what the preloaded names mean since the store has changed; whether it has.

        A version that cannot be loaded is noted in the log and not tried again.
        """
        try:
            self._store.refresh()
            meant = {reference: self._store.resolve(reference) for reference in self._followed}
            changed = [
                reference for reference in meant if meant[reference] != self._followed[reference]
            ]
            self._followed = meant
            for reference in changed:
                self.get(reference)
        except (StoreError, ModelStoreError) as error:
            log.error("the model store: %s", error)
            return False
        return bool(changed)

    def get(self, reference: str | None) -> Engine:
        """The model that `reference` means, loaded now if it is not in memory."""
        with self._lock:
            return self._get(reference)

    def _get(self, reference: str | None) -> Engine:
        try:
            name, version = self._resolve(reference)
            key = f"{name}@{version}"
            if key not in self._engines:
                engine = self._load(self._store.path(name, version), self._device())
                while len(self._engines) >= self._settings.max_models:
                    self._engines.popitem(last=False)
                self._engines[key] = engine
                log.info("loaded %s on %s", key, engine.device)
        except StoreError as error:
            raise ModelStoreError(str(error)) from error
        self._engines.move_to_end(key)
        return self._engines[key]

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
