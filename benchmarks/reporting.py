"""Helpers of the benchmark scripts: stored results, Markdown tables, machine and commit."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from cdvae.compute import available_threads

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "benchmarks.md"
RESULTS = ROOT / "benchmarks" / "results"
UNKNOWN = "–"
PACKAGES = ("app", "baselines", "cdvae", "cdvae_service", "worker")
"""The code that a result may depend on."""

Record = dict[str, Any]


def cached(
    path: Path, key: Mapping[str, Any], measure: Callable[[], Record]
) -> tuple[Record, bool]:
    """Return the record in ``path`` if it has this ``key``, else a new one, and whether it exists.

    A record has ``key``, ``figures`` (the return value of ``measure``), date, commit and machine.
    """
    record = read_record(path, key)
    if record is not None:
        return record, True
    started, begun_with = time.perf_counter(), commit()  # there may be a newer one at the end
    figures = measure()
    record = {
        "key": dict(key),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": begun_with,
        "hardware": hardware(),
        "wall_seconds": round(time.perf_counter() - started, 1),
        "figures": figures,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, path)  # an interruption leaves no half record
    return record, False


def read_record(path: Path, key: Mapping[str, Any]) -> Record | None:
    """Return the record in ``path`` if there is one with this ``key``."""
    if not path.exists():
        return None
    record: Record = json.loads(path.read_text(encoding="utf-8"))
    return record if record["key"] == key else None


def sha256(path: Path) -> str:
    """Return the hex digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def hardware() -> str:
    """Return processor, number of usable cores, GPU if there is one, and torch's version."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        name = models[0] if models else name
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{name}, {available_threads()} cores{gpu}, torch {torch.__version__}"


def commit() -> str:
    """Return the short hash of the commit, with ``+`` if the code of the packages differs from it.

    Without git it is ``unknown``.
    """
    try:
        found = _git("rev-parse", "--short", "HEAD")
        return found + ("+" if _git("status", "--porcelain", "--", *PACKAGES) else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def mean_sd(values: Sequence[float | None], digits: int, factor: float = 1.0) -> str:
    """Return ``mean ± standard deviation`` (of a sample) of ``factor`` times the values.

    A single value has no deviation; the text is a dash if there is no value or one is unknown.
    """
    known = [factor * value for value in values if value is not None]
    if not known or len(known) < len(values):
        return UNKNOWN
    mean = f"{statistics.fmean(known):.{digits}f}"
    return f"{mean} ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else mean


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; raises ValueError if a row has another width than the header."""
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"{len(row)} cells in a table of {len(header)} columns: {row}")
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def insert(document: str, name: str, text: str) -> str:
    """Return ``document`` with ``text`` between ``<!-- name:begin -->`` and ``<!-- name:end -->``.

    Raises:
        ValueError: the document does not have both marks, once each and in this order.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if document.count(begin) != 1 or document.count(end) != 1:
        raise ValueError(f"the document needs {begin} and {end}, once each")
    before, _, rest = document.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"{end} stands before {begin}")
    return f"{before}{begin}\n{text.strip()}\n{end}{after}"


def publish(name: str, text: str, path: Path = DOCUMENT) -> None:
    """Write ``text`` into its place in the document of the benchmarks."""
    path.write_text(insert(path.read_text(encoding="utf-8"), name, text), encoding="utf-8")
