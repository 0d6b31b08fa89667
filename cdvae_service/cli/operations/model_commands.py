"""`cdvae models`: what is in the model store, whether it is whole, and new versions of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cdvae_service.cli.console import Store, errors, opened
from cdvae_service.models.checksums import read_card, verify
from cdvae_service.models.discovery import FOLDER, installed_store
from cdvae_service.models.local_store import LocalStore
from cdvae_service.models.publish import add as publish
from cdvae_service.models.publish import pull as copy
from cdvae_service.models.publish import set_default
from cdvae_service.models.store_errors import StoreError, UnknownModelError

if TYPE_CHECKING:
    from cdvae_schema.cards import ModelCard

QUALITY = {
    "valid": ("generation", "validity"),
    "match": ("reconstruction", "match_rate"),
    "RMSE": ("reconstruction", "rmse"),
}

models_app = typer.Typer(help="The model store: list, check, add.", no_args_is_help=True)


@models_app.command("list")
def list_models(store: Store = None) -> None:
    """Every version of every model; `*` marks what a request without a model gets."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table("", "model", "created", "train", *QUALITY, "weights", box=box.SIMPLE_HEAD)
    with errors():
        models = opened(store)
        default = _default(models)
        faults = []
        for reference in models.references():
            try:
                row = _row(_card(models, reference))
            except StoreError as error:
                row = ["broken"]
                faults.append(str(error))
            table.add_row("*" if reference == default else "", reference, *row)
    Console().print(table)
    for fault in faults:
        typer.echo(fault)


@models_app.command()
def show(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="name or name@version.")],
    store: Store = None,
) -> None:
    """The card of a model as JSON."""
    with errors():
        models = opened(store)
        card = _card(models, "@".join(models.resolve(model)))
    typer.echo(card.model_dump_json(indent=2))


@models_app.command("verify")
def verify_models(
    model: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]…", help="name or name@version; all.")
    ] = None,
    store: Store = None,
) -> None:
    """Read every file of the models and compare the checksums with the cards."""
    with errors():
        models = opened(store)
        wanted = ["@".join(models.resolve(one)) for one in model or []] or models.references()
        faults = []
        for reference in wanted:
            name, version = reference.split("@")
            try:
                verify(models.path(name, version), reference)
                typer.echo(f"{reference}: ok")
            except StoreError as error:
                faults.append(str(error))
        if faults:
            raise StoreError("; ".join(faults))


@models_app.command()
def add(
    folder: Annotated[Path, typer.Argument(help="Model folder, as `cdvae train` writes it.")],
    default: Annotated[
        bool, typer.Option("--default", help="Make this version the alias `default`.")
    ] = False,
    store: Store = None,
) -> None:
    """Check a model folder and copy it into the store; running services take it up."""
    with errors():
        store = store or FOLDER
        if "://" in store:
            raise StoreError(f"{store} is read-only: add the model to the folder behind the URL")
        models = LocalStore(Path(store))
        card = publish(models, folder)
        if default:
            set_default(models, card.reference)
    typer.echo(f"{card.reference} added" + (", the default now" if default else ""))


@models_app.command()
def pull(
    model: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]…", help="name or name@version; all.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Folder or URL of a store.",
            show_default="the models of this installation",
        ),
    ] = None,
    to: Annotated[Path, typer.Option(help="Folder to copy to.")] = Path(FOLDER),
) -> None:
    """Check models and copy them into a folder; versions that it has already stay as they are."""
    with errors():
        origin, target = opened(source or str(installed_store())), LocalStore(to)
        for reference in ["@".join(origin.resolve(one)) for one in model or origin.references()]:
            typer.echo(f"{reference} {'copied' if copy(origin, reference, target) else 'kept'}")
    typer.echo(f"the models are in {to.absolute()}")


def register(app: typer.Typer) -> None:
    """Add the commands to the console program."""
    app.add_typer(models_app, name="models")


def _default(models: LocalStore) -> str | None:
    try:
        return "@".join(models.resolve(None))
    except UnknownModelError:
        return None


def _card(models: LocalStore, reference: str) -> ModelCard:
    return read_card(models.folder.joinpath(*reference.split("@")), reference)


def _row(card: ModelCard) -> list[str]:
    measured = [card.quality.get(task, {}).get(name) for task, name in QUALITY.values()]
    numbers = ["" if value is None else f"{value:.4g}" for value in measured]
    trained = str(card.data.get("train", ""))
    return [f"{card.created_at:%Y-%m-%d}", trained, *numbers, card.weights_sha256[:12]]
