"""`cdvae generate`, `reconstruct`, `optimize`, `interpolate`, `vary`: tasks of a service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cdvae_schema.requests import Direction
from cdvae_service.cli.command_groups import (
    AtomOptions,
    DeliveryOptions,
    TaskOptions,
    with_option_groups,
)
from cdvae_service.cli.remote.remote_calls import EXIT_CODES, PANEL


def generate(
    number: Annotated[int, typer.Option("-n", "--number", min=1, help="How many.")] = 16,
    lattice: Annotated[
        str | None, typer.Option(help="Cell to keep: a,b,c,alpha,beta,gamma in Å and degrees.")
    ] = None,
    spacegroup: Annotated[int | None, typer.Option(min=1, max=230, help="Number.")] = None,
    target: Annotated[str | None, typer.Option(help="PROPERTY=VALUE to aim at.")] = None,
    *,
    atoms: AtomOptions,
    task: TaskOptions,
    delivery: DeliveryOptions,
) -> None:
    """Sample new crystals, as they are required to be."""
    fields = {
        **task.fields(),
        "num_samples": number,
        **atoms.fields(),
        "lattice": _lattice(lattice),
        "spacegroup": spacegroup,
        "target": _target(target),
    }
    delivery.submit(lambda client, given: client.generate(**given), fields)


def reconstruct(
    files: Annotated[list[Path], typer.Argument(metavar="CIF…", help="CIF files.")],
    candidates: Annotated[int, typer.Option(min=1, help="Crystals for each given one.")] = 1,
    *,
    task: TaskOptions,
    delivery: DeliveryOptions,
) -> None:
    """Encode and decode given crystals."""
    fields = {**task.fields(), "num_candidates": candidates}
    delivery.submit(lambda client, given: client.reconstruct(files, **given), fields)


def optimize(
    prop: Annotated[str, typer.Argument(metavar="PROPERTY", help="Of the model's card.")],
    number: Annotated[int | None, typer.Option("-n", "--number", min=1, help="How many.")] = None,
    direction: Annotated[
        Direction | None, typer.Option(help="minimize, unless a value is given: target.")
    ] = None,
    value: Annotated[float | None, typer.Option(help="The value to reach.")] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PROPERTY=GOAL[,WEIGHT]",
            help="One more property; its goal is minimize, maximize or a value (repeatable).",
        ),
    ] = None,
    start: Annotated[
        list[str] | None, typer.Option(help="dataset, prior, or a CIF file (repeatable).")
    ] = None,
    search_steps: Annotated[int | None, typer.Option(min=1, help="Gradient steps.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of the search.")] = None,
    trust_radius: Annotated[float | None, typer.Option(help="Of its first move.")] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Moves without progress that end a search.")
    ] = None,
    *,
    atoms: AtomOptions,
    task: TaskOptions,
    delivery: DeliveryOptions,
) -> None:
    """Search crystals with a better property."""
    named = start is not None and start[0] in ("dataset", "prior")
    fields = {
        **task.fields(),
        "num_samples": number,
        "direction": direction or (None if value is None else "target"),
        "value": value,
        "objectives": [_objective(text) for text in also] if also else None,
        "start": start[0] if start and named else start,
        "steps": search_steps,
        "learning_rate": learning_rate,
        "trust_radius": trust_radius,
        "patience": patience,
        **atoms.fields(),
    }
    delivery.submit(lambda client, given: client.optimize(prop, **given), fields)


def interpolate(
    files: Annotated[
        list[Path], typer.Argument(metavar="CIF CIF", help="Two crystals, in one file or two.")
    ],
    points: Annotated[int, typer.Option(min=2, help="Crystals, both ends included.")] = 11,
    *,
    task: TaskOptions,
    delivery: DeliveryOptions,
) -> None:
    """Walk from one crystal to another."""
    fields = {**task.fields(), "num_points": points}
    delivery.submit(lambda client, given: client.interpolate(files, **given), fields)


def vary(
    file: Annotated[Path, typer.Argument(metavar="CIF", help="The crystal.")],
    strength: Annotated[float, typer.Option(min=0, max=1, help="How far from it.")] = 0.3,
    number: Annotated[int, typer.Option("-n", "--number", min=1, help="How many.")] = 16,
    keep_composition: Annotated[
        bool, typer.Option("--keep-composition", help="Vary cell and sites alone.")
    ] = False,
    *,
    task: TaskOptions,
    delivery: DeliveryOptions,
) -> None:
    """Make crystals like a given one."""
    fields = {
        **task.fields(),
        "strength": strength,
        "num_samples": number,
        "keep_composition": keep_composition,
    }
    delivery.submit(lambda client, given: client.vary(file, **given), fields)


def _target(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    name, _, value = text.partition("=")
    try:
        return {"property": name, "value": float(value)}
    except ValueError:
        raise typer.BadParameter("it is PROPERTY=VALUE", param_hint="--target") from None


def _lattice(text: str | None) -> dict[str, float] | None:
    if text is None:
        return None
    names = ("a", "b", "c", "alpha", "beta", "gamma")
    try:
        return dict(zip(names, map(float, text.split(",")), strict=True))
    except ValueError:
        text = "it is six numbers: a,b,c,alpha,beta,gamma"
        raise typer.BadParameter(text, param_hint="--lattice") from None


def _objective(text: str) -> dict[str, Any]:
    name, _, goal = text.partition("=")
    goal, _, weight = goal.partition(",")
    try:
        wanted: dict[str, Any] = {"direction": goal}
        if goal not in ("minimize", "maximize"):
            wanted = {"direction": "target", "value": float(goal)}
        return {"property": name, **wanted, "weight": float(weight or 1)}
    except ValueError:
        raise typer.BadParameter("it is PROPERTY=GOAL[,WEIGHT]", param_hint="--also") from None


def register(app: typer.Typer) -> None:
    """Adds the commands to the console program."""
    for command in (generate, reconstruct, optimize, interpolate, vary):
        app.command(epilog=EXIT_CODES, rich_help_panel=PANEL)(with_option_groups(command))
