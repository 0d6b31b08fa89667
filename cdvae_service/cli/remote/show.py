"""Tables of jobs and crystals for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, JustifyMethod
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from cdvae_client.crystals import (
    AnyCrystal,
    InterpolatedCrystal,
    OptimizedCrystal,
    ReconstructedCrystal,
    Result,
    VariedCrystal,
    file_stem,
)
from cdvae_schema.job_specs import JobStatus

COLUMNS = ("", "formula", "space group", "density\ng/cm³", "min.\ndist.\nÅ", "valid")
TEXTS = ("formula", "space group")
PIPE_WIDTH = 200


def wide_console() -> Console:
    """Return a console on standard output, wide enough for tables in a file or pipe."""
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, PIPE_WIDTH)
    return console


def bars(console: Console) -> Progress:
    """Return progress bars with elapsed and remaining time."""
    return Progress(
        TextColumn("{task.description:<28}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def job_bar(progress: Progress) -> Callable[[JobStatus], None]:
    """Add a bar and return the function that updates it with a job's status."""
    bar = progress.add_task("queued", total=1.0)

    def show(status: JobStatus) -> None:
        waits = status.state == "queued"
        stage = status.progress.stage if status.state in ("queued", "running") else status.state
        position = f" ({status.queue_position})" if waits and status.queue_position else ""
        progress.update(bar, description=stage + position, completed=status.progress.fraction)

    return show


def crystals_table(crystals: Iterable[AnyCrystal], title: str, units: Mapping[str, str]) -> Table:
    """Return a table with one row per crystal; units: unit of each predicted property."""
    crystals = list(crystals)
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    predicted = ["\n".join(["predicted", *name.split("_"), unit]) for name, unit in units.items()]
    own = [_own(crystal) for crystal in crystals[:1]]
    titles = (*COLUMNS[:2], *(name for one in own for name in one), *COLUMNS[2:], *predicted)
    for name in titles:
        justify: JustifyMethod = "left" if name in TEXTS else "right"
        table.add_column(name, justify=justify, no_wrap=True)
    for crystal in crystals:
        group = crystal.spacegroup
        table.add_row(
            str(crystal.index),
            crystal.reduced_formula,
            *_own(crystal).values(),
            f"{group.symbol} ({group.number})" if group else "–",
            _number(crystal.density),
            _number(crystal.min_distance),
            "yes" if crystal.valid.structure and crystal.valid.composition else "no",
            *(_number(crystal.predicted.get(name)) for name in units),
        )
    return table


def _own(crystal: AnyCrystal) -> dict[str, str]:
    """Return the columns specific to the kind of job."""
    if isinstance(crystal, ReconstructedCrystal):
        matched = "yes" if crystal.matched else "no"
        rank = "–" if crystal.rank is None else str(crystal.rank)
        own = {"source": str(crystal.source), "rank": rank, "match": matched}
        return {**own, "RMSE": _number(crystal.rmse, 4)}
    if isinstance(crystal, OptimizedCrystal):
        return {"start": _number(crystal.start_value), "percentile": _number(crystal.percentile)}
    if isinstance(crystal, InterpolatedCrystal):
        first, second = crystal.distances
        ends = {"to first": _number(first), "to second": _number(second)}
        return {"position": _number(crystal.position), **ends}
    if isinstance(crystal, VariedCrystal):
        return {"distance": _number(crystal.distance), "RMSE": _number(crystal.rmse, 4)}
    return {}


def summary_table(result: Result) -> Table:
    """Return a table of the metrics and times of a job."""
    table = Table(title="Summary", box=box.SIMPLE_HEAD, show_header=False)
    seconds = result.provenance.seconds.model_dump() if result.provenance else {}
    for name, value in (*_flat(result.metrics or {}), *_flat(seconds, "seconds ")):
        table.add_row(name, value)
    return table


def jobs_table(jobs: Iterable[JobStatus]) -> Table:
    """Return a table with one row per job, newest first."""
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("id", "kind", "state", "model", "crystals", "created", "done"):
        table.add_column(name, no_wrap=True)
    for job in jobs:
        done = f"{job.progress.samples_done} of {job.progress.samples_total}"
        created = f"{job.created_at.astimezone():%Y-%m-%d %H:%M:%S}"
        fraction = f"{100 * job.progress.fraction:.0f} %"
        table.add_row(job.id, job.kind, job.state, job.request.model, done, created, fraction)
    return table


def write_cifs(result: Result, out: Path) -> None:
    """Write one CIF per crystal to the folder."""
    out.mkdir(parents=True, exist_ok=True)
    for crystal in result:
        (out / f"{file_stem(crystal)}.cif").write_text(crystal.cif, encoding="utf-8")


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name} ")
        else:
            yield prefix + name, f"{value:.4g}" if isinstance(value, float) else str(value)


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
