"""The models in memory, and where they lie in the store."""

from __future__ import annotations

import logging
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cdvae.errors import ModelStoreError
from schema.cards import NAME
from worker.settings import WorkerSettings

if TYPE_CHECKING:
    from worker.engine import Engine

log = logging.getLogger(__name__)

LoadEngine = Callable[[Path, str], "Engine"]

_REFERENCE = re.compile(f"({NAME})(?:@({NAME}))?")


def load_engine(folder: Path, device: str) -> Engine:
    """Load the model in `folder`; raises ModelStoreError."""
    from cdvae.trained import load_model
    from worker.engine import Engine

    return Engine(load_model(folder, device))


def resolve(store: Path, reference: str | None) -> tuple[str, str]:
    """Name and version of `name`, `name@version` or None, the default; newest where unnamed.

    Raises ModelStoreError for a reference that nothing in the store answers to.
    """
    if reference is None:
        reference = _default(store)
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise ModelStoreError(f"{reference!r} is no model reference")
    name, version = match.groups()
    versions = sorted((path.parent.name for path in store.glob(f"{name}/*/card.json")), key=_order)
    if not versions or (version is not None and version not in versions):
        raise ModelStoreError(f"no model {reference!r} in {store.resolve()}")
    return name, version or versions[-1]


def _default(store: Path) -> str:
    try:
        return (store / "default.txt").read_text(encoding="utf-8").strip()
    except OSError:
        names = {path.parent.parent.name for path in store.glob("*/*/card.json")}
    if len(names) != 1:
        raise ModelStoreError(f"{store.resolve()} names no default model in default.txt")
    return names.pop()


def _order(version: str) -> list[tuple[bool, int, str]]:
    # Version 10 comes after version 9.
    parts = re.findall(r"\d+|\D+", version)
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]


class Models:
    """The models of one process, at most `settings.max_models` of them, least used go first."""

    def __init__(self, settings: WorkerSettings, load: LoadEngine) -> None:
        self._settings = settings
        self._load = load
        self._engines: OrderedDict[str, Engine] = OrderedDict()

    @property
    def loaded(self) -> list[str]:
        """`name@version` of every model in memory."""
        return sorted(self._engines)

    @property
    def device(self) -> str:
        """The device of the models, in words; empty before the first is loaded."""
        engine = next(iter(self._engines.values()), None)
        return "" if engine is None else engine.device

    def preload(self) -> None:
        """Load what the settings name; raises ModelStoreError."""
        for reference in self._settings.preload:
            self.get(reference)
        if not self._settings.preload:
            self.get(None)

    def get(self, reference: str | None) -> Engine:
        """The model that `reference` means, loaded now if it is not in memory."""
        name, version = resolve(self._settings.model_store, reference)
        key = f"{name}@{version}"
        if key not in self._engines:
            while len(self._engines) >= self._settings.max_models:
                self._engines.popitem(last=False)
            folder = self._settings.model_store / name / version
            self._engines[key] = self._load(folder, self._device())
            log.info("loaded %s on %s", key, self._engines[key].device)
        self._engines.move_to_end(key)
        return self._engines[key]

    def _device(self) -> str:
        if self._settings.device != "auto":
            return self._settings.device
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"
