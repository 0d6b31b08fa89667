"""What the commands share: progress bars, errors in one line, models and data by their names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from cdvae_service.models import open_store
from cdvae_service.models.local_store import LocalStore
from cdvae_service.models.store_errors import StoreError

Progress = Callable[[int, int], None]
Stage = Callable[[str], Progress]
Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        envvar="CDVAE_MODEL_STORE",
        help="Folder or URL of the models.",
        show_default="./model_store, or the models of this installation",
    ),
]
ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="name, name@version or a folder.")]
Sampler = Annotated[str, typer.Option(help="ancestral or langevin.")]
Nfe = Annotated[
    int | None, typer.Option(min=1, help="Network evaluations per crystal; default: the sampler's.")
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of every random number.")]
Home = Annotated[Path, typer.Option(envvar="CDVAE_HOME", help="Folder of all state.")]


@contextmanager
def stages() -> Iterator[Stage]:
    """One bar after the other, each with the time left; silent where nobody watches."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    text = TextColumn("{task.description}")
    columns = (text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Bar(*columns, console=console, disable=not console.is_terminal) as bar:

        def stage(label: str) -> Progress:
            task = bar.add_task(label, total=None)
            return lambda done, total: bar.update(task, completed=done, total=total)

        yield stage


@contextmanager
def errors() -> Iterator[None]:
    """The library's errors as one line on stderr and exit status 1."""
    from cdvae.errors import CdvaeError

    try:
        yield
    except (CdvaeError, StoreError, ValueError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error


def load(reference: str, store: str | None) -> Any:
    """The trained model of a name, name@version or folder, on the best device there is."""
    folder = find(reference, store)  # before torch, whose import takes seconds
    from cdvae.compute import configure, default_device
    from cdvae.model_folder import load_model

    configure()
    return load_model(folder, default_device())


def find(reference: str, store: str | None) -> Path:
    """The model folder of a name, name@version or folder; raises StoreError."""
    folder = Path(reference)
    if (folder / "card.json").is_file():
        return folder
    models = opened(store)
    return models.path(*models.resolve(reference))


def opened(store: str | None) -> LocalStore:
    """Return the store at a folder or URL, as it is now; raises StoreError without a model."""
    models = open_store(store, Path(os.environ.get("CDVAE_HOME", ".cdvae")) / "models")
    models.refresh()
    if not models.names():
        raise StoreError(
            f"no models in {store or models.folder}: copy some there with `cdvae models pull`, or "
            "name another folder or URL with --store or CDVAE_MODEL_STORE"
        )
    return models


def read(
    path: Path, properties: dict[str, Any], progress: Progress, limit: int | None = None
) -> Any:
    """The first ``limit`` crystals of a CSV (all by default), with those properties of a card's
    ``properties`` that it has.
    """
    import tempfile

    from cdvae.compute import available_threads
    from cdvae.data.dataset import load_cache
    from cdvae.data.sources import csv_columns
    from cdvae.data.tensor_cache import prepare

    present = csv_columns(path)
    wanted = {name: p["source"] for name, p in properties.items() if p["source"] in present}
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "data.safetensors"
        prepare(path, cache, wanted, available_threads(), progress, limit)
        return load_cache(cache)
