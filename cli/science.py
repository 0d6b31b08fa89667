"""Commands that need no service: prepare data, train, sample, evaluate."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

Progress = Callable[[int, int], None]
Store = Annotated[
    Path, typer.Option("--store", envvar="CDVAE_MODEL_STORE", help="Folder of the trained models.")
]
ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="name, name@version or a folder.")]
Sampler = Annotated[str, typer.Option(help="fast or langevin.")]
Steps = Annotated[
    int | None, typer.Option(min=1, help="Score evaluations a crystal; default of the sampler.")
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of every random number.")]


class Task(StrEnum):
    """What `cdvae evaluate` can measure."""

    RECON = "recon"
    GEN = "gen"


@contextmanager
def _progress(label: str) -> Iterator[Progress]:
    """A bar with the time left; silent where nobody watches."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Bar(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def _errors() -> Iterator[None]:
    """The library's errors as one line on stderr and exit status 1."""
    from cdvae.errors import CdvaeError

    try:
        yield
    except (CdvaeError, ValueError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error


def _load(reference: str, store: Path) -> Any:
    from cdvae.compute import configure, default_device
    from cdvae.trained import load_model
    from worker.models import resolve

    configure()
    folder = Path(reference)
    if not (folder / "card.json").is_file():
        name, version = resolve(store, reference)
        folder = store / name / version
    return load_model(folder, default_device())


def prepare(
    source: Annotated[Path, typer.Argument(help="CSV, CSV.gz with a cif column, or CIF folder.")],
    out: Annotated[Path, typer.Argument(help="Tensor cache to write (.safetensors).")],
    column: Annotated[
        list[str] | None,
        typer.Option("--property", "-p", help="NAME=COLUMN, once for each property."),
    ] = None,
) -> None:
    """Read crystals once and write them as tensors for training."""
    from cdvae.compute import available_threads
    from cdvae.data.cache import prepare as write_cache

    pairs = [text.partition("=") for text in column or []]
    if not all(name and equals and origin for name, equals, origin in pairs):
        raise typer.BadParameter("a property is NAME=COLUMN")
    properties = {name: origin for name, _, origin in pairs}
    with _errors(), _progress("crystals") as progress:
        facts = write_cache(source, out, properties, available_threads(), progress)
    typer.echo(f"{facts['num_crystals']} crystals, {facts['num_atoms']} atoms → {out}")


def train(
    config: Annotated[Path, typer.Argument(help="Settings (TOML).")],
    data: Annotated[Path, typer.Option(help="Folder with train and val.safetensors.")],
    out: Annotated[Path, typer.Option(help="Model folder to write: …/<name>/<version>.")],
    state: Annotated[
        Path | None, typer.Option(help="Folder of the run's state; resumed if present.")
    ] = None,
    commit: Annotated[str, typer.Option(help="Commit to note in the card.")] = "unknown",
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of torch.")] = None,
) -> None:
    """Train the autoencoder and its prior, and write a model folder."""
    from cdvae.compute import configure
    from cdvae.training.main import train_and_export

    configure(threads)
    with _errors():
        train_and_export(config, data, state or Path("runs") / config.stem, out, commit)
    typer.echo(f"model written to {out}")


def sample(
    model: ModelName,
    out: Annotated[Path, typer.Option(help="Folder for the CIF files and summary.json.")],
    number: Annotated[int, typer.Option("-n", "--number", min=1, help="How many.")] = 16,
    seed: Seed = 0,
    sampler: Sampler = "fast",
    steps: Steps = None,
    store: Store = Path("model_store"),
) -> None:
    """Generate crystals into a folder, one CIF each."""
    from cdvae.data.cif import write_cif
    from cdvae.evaluation import generate
    from cdvae.pipeline import SamplerSpec

    with _errors(), _progress("crystals") as progress:
        loaded = _load(model, store)
        result = generate(loaded, number, seed, SamplerSpec(sampler, steps), progress)
        origin = {
            "generator": "cdvae",
            "model": f"{loaded.name}@{loaded.version}",
            "weights_sha256": loaded.weights_sha256,
            "seed": seed,
            "sampler": f"{sampler} {result.metrics['score_evaluations']}",
        }
        out.mkdir(parents=True, exist_ok=True)
        for i, structure in enumerate(result.structures):
            text = write_cif(structure, {**origin, "index": i})
            (out / f"{i:05d}.cif").write_text(text, encoding="utf-8")
    summary = {"metrics": result.metrics, "provenance": origin}
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    typer.echo(f"{number} crystals → {out}")


def evaluate(
    model: ModelName,
    task: Annotated[Task, typer.Option(help="recon: reconstruction; gen: generation.")],
    out: Annotated[Path, typer.Option(help="JSON file to write.")],
    data: Annotated[
        Path | None, typer.Option(help="Crystals to reconstruct (CSV or CSV.gz).")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Number of crystals.")] = 1000,
    seed: Seed = 0,
    sampler: Sampler = "fast",
    steps: Steps = None,
    store: Store = Path("model_store"),
) -> None:
    """Measure a model; fractions are 0 to 1."""
    from cdvae.compute import available_threads
    from cdvae.evaluation import generate, reconstruct
    from cdvae.pipeline import SamplerSpec

    if task is Task.RECON and data is None:
        raise typer.BadParameter("task recon needs --data")
    with _errors(), _progress("crystals") as progress:
        loaded = _load(model, store)
        spec = SamplerSpec(sampler, steps)
        if task is Task.RECON:
            assert data is not None
            crystals = _read(data, loaded.card["properties"], limit)
            figures = reconstruct(loaded, crystals, seed, spec, available_threads(), progress)
            number = len(crystals)
        else:
            figures = generate(loaded, limit, seed, spec, progress).metrics
            number = limit
    options = [f"--task {task.value}"]
    options += [f"--data {data.name}"] if data else []
    options += [f"--limit {limit}", f"--sampler {sampler}"]
    options += [f"--steps {steps}"] if steps else []
    facts = {
        "command": f"cdvae evaluate {model} {' '.join(options)} --seed {seed}",
        "task": task.value,
        "model": f"{loaded.name}@{loaded.version}",
        "weights_sha256": loaded.weights_sha256,
        "data": data.name if data else None,
        "number": number,
        "seed": seed,
        "sampler": sampler,
        **figures,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    typer.echo(json.dumps(facts, indent=2))


def _read(path: Path, properties: dict[str, Any], limit: int) -> Any:
    """The first ``limit`` crystals of a CSV, with those of the model's properties that it has."""
    import tempfile

    from cdvae.compute import available_threads
    from cdvae.data.cache import prepare as write_cache
    from cdvae.data.dataset import load_cache
    from cdvae.data.source import csv_columns

    present = csv_columns(path)
    wanted = {name: p["source"] for name, p in properties.items() if p["source"] in present}
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "data.safetensors"
        write_cache(path, cache, wanted, available_threads(), limit=limit)
        return load_cache(cache)


def register(app: typer.Typer) -> None:
    """Adds the commands to the console program."""
    data_app = typer.Typer(help="Data sets.", no_args_is_help=True)
    data_app.command("prepare")(prepare)
    app.add_typer(data_app, name="data")
    app.command()(train)
    app.command()(sample)
    app.command()(evaluate)
