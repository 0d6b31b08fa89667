"""`cdvae generate`, `reconstruct`, `optimize`: tasks of a service from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.options import AsJson, Key, Model, NoWait, Once, Out, Png, Server
from cli.remote import EXIT_CODES, PANEL, Output, connected, follow
from schema.requests import Direction, Priority

Seed = Annotated[int | None, typer.Option(min=0, help="Seed; drawn and told where none is given.")]
Sampler = Annotated[str | None, typer.Option(help="Sampler of the model's card.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Score evaluations a crystal.")]
Urgency = Annotated[Priority, typer.Option(help="Queue.")]
Formula = Annotated[str | None, typer.Option("--composition", help="Exactly, e.g. SrTiO3.")]
NumAtoms = Annotated[int | None, typer.Option(min=1, help="In the cell, exactly.")]
Include = Annotated[list[str] | None, typer.Option(help="Element that must occur (repeatable).")]
Exclude = Annotated[list[str] | None, typer.Option(help="Element that must not (repeatable).")]
Relax = Annotated[
    bool, typer.Option("--relax", help="Relax the crystals with an interatomic potential.")
]


def generate(
    number: Annotated[int, typer.Option("-n", "--number", min=1, help="How many.")] = 16,
    model: Model = None,
    composition: Formula = None,
    num_atoms: NumAtoms = None,
    include: Include = None,
    exclude: Exclude = None,
    lattice: Annotated[
        str | None, typer.Option(help="Cell to keep: a,b,c,alpha,beta,gamma in Å and degrees.")
    ] = None,
    spacegroup: Annotated[int | None, typer.Option(min=1, max=230, help="Number.")] = None,
    target: Annotated[str | None, typer.Option(help="PROPERTY=VALUE to aim at.")] = None,
    seed: Seed = None,
    sampler: Sampler = None,
    steps: Steps = None,
    priority: Urgency = "normal",
    relax: Relax = False,
    idempotency_key: Once = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
    png: Png = None,
    out: Out = None,
    no_wait: NoWait = False,
) -> None:
    """Sample new crystals, as they are required to be."""
    fields = {
        **_task(model, seed, sampler, steps, priority, relax),
        "num_samples": number,
        **_atoms(composition, num_atoms, include, exclude),
        "lattice": _lattice(lattice),
        "spacegroup": spacegroup,
        "target": _target(target),
    }
    with connected(server, key) as client:
        job = client.generate(idempotency_key=idempotency_key, **_given(fields))
        follow(client, job, Output(as_json, png, out), no_wait)


def reconstruct(
    files: Annotated[list[Path], typer.Argument(metavar="CIF…", help="CIF files.")],
    candidates: Annotated[int, typer.Option(min=1, help="Crystals for each given one.")] = 1,
    model: Model = None,
    seed: Seed = None,
    sampler: Sampler = None,
    steps: Steps = None,
    priority: Urgency = "normal",
    relax: Relax = False,
    idempotency_key: Once = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
    png: Png = None,
    out: Out = None,
    no_wait: NoWait = False,
) -> None:
    """Encode and decode given crystals."""
    fields = {**_task(model, seed, sampler, steps, priority, relax), "num_candidates": candidates}
    with connected(server, key) as client:
        job = client.reconstruct(files, idempotency_key=idempotency_key, **_given(fields))
        follow(client, job, Output(as_json, png, out), no_wait)


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
    composition: Formula = None,
    num_atoms: NumAtoms = None,
    include: Include = None,
    exclude: Exclude = None,
    model: Model = None,
    seed: Seed = None,
    sampler: Sampler = None,
    steps: Steps = None,
    priority: Urgency = "normal",
    relax: Relax = False,
    idempotency_key: Once = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
    png: Png = None,
    out: Out = None,
    no_wait: NoWait = False,
) -> None:
    """Search crystals with a better property."""
    named = start is not None and start[0] in ("dataset", "prior")
    fields = {
        **_task(model, seed, sampler, steps, priority, relax),
        "num_samples": number,
        "direction": direction or (None if value is None else "target"),
        "value": value,
        "objectives": [_objective(text) for text in also] if also else None,
        "start": start[0] if start and named else start,
        "steps": search_steps,
        "learning_rate": learning_rate,
        "trust_radius": trust_radius,
        "patience": patience,
        **_atoms(composition, num_atoms, include, exclude),
    }
    with connected(server, key) as client:
        job = client.optimize(prop, idempotency_key=idempotency_key, **_given(fields))
        follow(client, job, Output(as_json, png, out), no_wait)


def interpolate(
    files: Annotated[
        list[Path], typer.Argument(metavar="CIF CIF", help="Two crystals, in one file or two.")
    ],
    points: Annotated[int, typer.Option(min=2, help="Crystals, both ends included.")] = 11,
    model: Model = None,
    seed: Seed = None,
    sampler: Sampler = None,
    steps: Steps = None,
    priority: Urgency = "normal",
    relax: Relax = False,
    idempotency_key: Once = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
    png: Png = None,
    out: Out = None,
    no_wait: NoWait = False,
) -> None:
    """Walk from one crystal to another."""
    fields = {**_task(model, seed, sampler, steps, priority, relax), "num_points": points}
    with connected(server, key) as client:
        job = client.interpolate(files, idempotency_key=idempotency_key, **_given(fields))
        follow(client, job, Output(as_json, png, out), no_wait)


def vary(
    file: Annotated[Path, typer.Argument(metavar="CIF", help="The crystal.")],
    strength: Annotated[float, typer.Option(min=0, max=1, help="How far from it.")] = 0.3,
    number: Annotated[int, typer.Option("-n", "--number", min=1, help="How many.")] = 16,
    keep_composition: Annotated[
        bool, typer.Option("--keep-composition", help="Vary cell and sites alone.")
    ] = False,
    model: Model = None,
    seed: Seed = None,
    sampler: Sampler = None,
    steps: Steps = None,
    priority: Urgency = "normal",
    relax: Relax = False,
    idempotency_key: Once = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
    png: Png = None,
    out: Out = None,
    no_wait: NoWait = False,
) -> None:
    """Make crystals like a given one."""
    fields = {
        **_task(model, seed, sampler, steps, priority, relax),
        "strength": strength,
        "num_samples": number,
        "keep_composition": keep_composition,
    }
    with connected(server, key) as client:
        job = client.vary(file, idempotency_key=idempotency_key, **_given(fields))
        follow(client, job, Output(as_json, png, out), no_wait)


def _task(
    model: str | None,
    seed: int | None,
    sampler: str | None,
    steps: int | None,
    priority: str,
    relax: bool,
) -> dict[str, Any]:
    if steps is not None and sampler is None:
        raise typer.BadParameter("name the sampler too", param_hint="--steps")
    choice = None if sampler is None else {"name": sampler, "steps": steps}
    task = {"model": model, "seed": seed, "sampler": choice, "priority": priority}
    return {**task, "relax": relax or None}


def _target(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    name, _, value = text.partition("=")
    try:
        return {"property": name, "value": float(value)}
    except ValueError:
        raise typer.BadParameter("it is PROPERTY=VALUE", param_hint="--target") from None


def _atoms(
    composition: str | None,
    num_atoms: int | None,
    include: list[str] | None,
    exclude: list[str] | None,
) -> dict[str, Any]:
    elements = {"include": include or [], "exclude": exclude or []} if include or exclude else None
    return {"composition": composition, "num_atoms": num_atoms, "elements": elements}


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


def _given(fields: dict[str, Any]) -> Any:
    """The fields that were given."""
    return {name: value for name, value in fields.items() if value is not None}


def register(app: typer.Typer) -> None:
    """Adds the commands to the console program."""
    for command in (generate, reconstruct, optimize, interpolate, vary):
        app.command(epilog=EXIT_CODES, rich_help_panel=PANEL)(command)
