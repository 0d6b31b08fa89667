"""Helpers of the speed benchmarks: seconds of a call, a model by name, the record."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, local
from types import TracebackType
from typing import Any

from benchmarks.reporting import commit, hardware
from cdvae.inference import Decoded, SamplerSpec, crystal_seed, decode, sample_latents
from cdvae.model_folder import TrainedModel, load_model
from cdvae_service.models.local_store import LocalStore

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Seconds:
    """Seconds of one call. Processor time includes all threads and excludes waiting."""

    wall: float
    cpu: float


def timed(call: Callable[[], Any]) -> Seconds:
    """Return the seconds of ``call``."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu)


def load(name: str) -> TrainedModel:
    """Return the model of that name in the repository's store, on the CPU."""
    store = LocalStore(ROOT / "model_store")
    return load_model(store.path(*store.resolve(name)))


def sample(model: TrainedModel, n: int, sampler: SamplerSpec, seed: int = 1) -> Decoded:
    """Return ``n`` new crystals from one call."""
    seeds = [crystal_seed(seed, i) for i in range(n)]
    return decode(model, sample_latents(model, seeds), seeds, sampler)


class Watch:
    """Processor time of parts of a computation, summed over threads and without inner parts."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.inner = local()
        self._lock = Lock()

    def on(self, owner: Any, attribute: str, part: str) -> AbstractContextManager[None]:
        """Return a context in which calls of that function count for ``part``."""
        return _Watched(self, owner, attribute, part)

    def add(self, part: str, seconds: float) -> None:
        """Add to the time of a part."""
        with self._lock:
            self.seconds[part] = self.seconds.get(part, 0.0) + seconds


class _Watched(AbstractContextManager[None]):
    def __init__(self, watch: Watch, owner: Any, attribute: str, part: str) -> None:
        self._watch, self._owner, self._attribute, self._part = watch, owner, attribute, part

    def __enter__(self) -> None:
        original = self._original = getattr(self._owner, self._attribute)

        def watched(*args: Any, **kwargs: Any) -> Any:
            inner = self._watch.inner
            before, inner.seconds = getattr(inner, "seconds", 0.0), 0.0
            begun = time.thread_time()
            try:
                return original(*args, **kwargs)
            finally:
                seconds = time.thread_time() - begun
                self._watch.add(self._part, seconds - inner.seconds)
                inner.seconds = before + seconds

        setattr(self._owner, self._attribute, watched)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        setattr(self._owner, self._attribute, self._original)


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """k of the least-squares fit seconds = c · size^k."""
    x, y = [math.log(size) for size in sizes], [math.log(value) for value in seconds]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    above = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return above / sum((a - mean_x) ** 2 for a in x)


def arguments(description: str, **options: Any) -> argparse.Namespace:
    """Parse a command line with ``--out`` and ``options`` (name to default; lists take several)."""
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    for name, default in options.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(default, bool):
            parser.add_argument(flag, action="store_true")
        elif isinstance(default, list):
            parser.add_argument(flag, type=type(default[0]), nargs="+", default=default)
        else:
            parser.add_argument(flag, type=type(default), default=default)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def emit(figures: dict[str, Any], out: Path | None) -> None:
    """Print the figures with command, commit and machine as JSON, and write them to ``out``."""
    record = {
        "command": "python " + " ".join([os.path.relpath(sys.argv[0], ROOT), *sys.argv[1:]]),
        "commit": commit(),
        "hardware": hardware(),
        "load": [round(value, 2) for value in os.getloadavg()],
        **figures,
    }
    text = json.dumps(record, indent=2)
    print(text)
    if out:
        out.write_text(text + "\n", encoding="utf-8")
