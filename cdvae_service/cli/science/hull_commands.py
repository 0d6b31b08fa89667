"""Commands that make references of phases for convex hulls."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from cdvae_service.cli.console import errors, stages


def build(
    card: Annotated[Path, typer.Argument(help="Facts about the reference (TOML).")],
    out: Annotated[Path, typer.Option(help="Folder for NAME.safetensors and NAME.json.")],
    energies: Annotated[
        list[Path] | None,
        typer.Option(help="CSV (.gz) with formula, material_id and an energy column."),
    ] = None,
    column: Annotated[str, typer.Option(help="The energy column, eV/atom.")] = "energy_per_atom",
    only: Annotated[
        list[str] | None, typer.Option(help="COLUMN=VALUE,VALUE: use only these rows of a CSV.")
    ] = None,
    structures: Annotated[
        list[Path] | None,
        typer.Option(help="CSV (.gz) with a cif column, or folder of CIFs, for --potential."),
    ] = None,
    potential: Annotated[
        str | None, typer.Option(help="chgnet or sevennet: evaluates --structures as they are.")
    ] = None,
    journal: Annotated[
        Path | None, typer.Option(help="Computed energies; an existing file is continued.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; default: all.")] = None,
) -> None:
    """Make a reference of phases from tables of energies, structures and a potential, or both."""
    from cdvae.compute import configure
    from cdvae.data.sources import read_source
    from cdvae.stability.phase_energies import read_energies, static_energies
    from cdvae.stability.phase_reference import PhaseReference, lowest, write_reference
    from cdvae.stability.potentials import load_potential

    if structures and potential is None:
        raise typer.BadParameter("needed with --structures", param_hint="--potential")
    configure(threads)
    with errors(), stages() as stage:
        facts = tomllib.loads(card.read_text(encoding="utf-8"))
        _require(facts, "name", "version", "source", "licence")
        conditions = {name: values.split(",") for name, values in _pairs(only or [])}
        phases = [p for path in energies or [] for p in read_energies(path, column, conditions)]
        known = {phase.identifier for phase in phases}
        rows = [row for path in structures or [] for row in read_source(path, {}).rows]
        rows = [row for row in rows if row.material_id not in known]
        if rows:
            record = journal or out / f"{facts['name']}.journal.csv"
            relaxer = load_potential(potential or "")
            phases += static_energies(rows, relaxer, record, stage("structures"))
        reference = PhaseReference(lowest(phases), {**facts, "evaluated": len(phases)})
        path = write_reference(reference, out)
    typer.echo(f"{len(reference.phases)} compositions of {len(phases)} phases → {path}")


def fit(
    reference: Annotated[Path, typer.Argument(help="NAME.safetensors of formation energies.")],
    energies: Annotated[list[Path], typer.Option(help="CSV (.gz) of the potential's energies.")],
    formation: Annotated[
        list[Path], typer.Option(help="CSV (.gz) with material_id, formation_energy_per_atom.")
    ],
    label: Annotated[str, typer.Option(help="The potential: name, package and weights.")],
    only: Annotated[
        list[str] | None, typer.Option(help="COLUMN=VALUE,VALUE: use only these rows.")
    ] = None,
) -> None:
    """Fit elemental energies that bring a potential to the scale of a functional's reference."""
    from cdvae.stability.phase_energies import (
        fit_element_shifts,
        read_energies,
        read_formation_energies,
    )
    from cdvae.stability.phase_reference import PhaseReference, read_reference, write_reference

    with errors():
        known = read_reference(reference)
        conditions = {name: values.split(",") for name, values in _pairs(only or [])}
        own = [p for path in energies for p in read_energies(path, "energy_per_atom", conditions)]
        measured: dict[str, float] = {}
        for path in formation:
            measured |= read_formation_energies(path)
        shifts, error = fit_element_shifts(own, measured)
        card = dict(known.card)
        card["element_shifts"] = {**card.get("element_shifts", {}), label: shifts}
        card["fit_error"] = {**card.get("fit_error", {}), label: round(error, 4)}
        write_reference(PhaseReference(known.phases, card), reference.parent)
    typer.echo(f"{len(shifts)} elements, mean absolute difference {error:.4f} eV/atom")


def _pairs(texts: list[str]) -> list[tuple[str, str]]:
    pairs = [text.partition("=") for text in texts]
    if not all(name and equals for name, equals, _ in pairs):
        raise typer.BadParameter("a condition is COLUMN=VALUE,VALUE", param_hint="--only")
    return [(name, value) for name, _, value in pairs]


def _require(facts: dict[str, Any], *names: str) -> None:
    if missing := [name for name in names if name not in facts]:
        raise ValueError(f"the card lacks {', '.join(missing)}")


def register(app: typer.Typer) -> None:
    """Add the commands to the console program."""
    hull = typer.Typer(help="References of phases for convex hulls.", no_args_is_help=True)
    hull.command("build")(build)
    hull.command("fit")(fit)
    app.add_typer(hull, name="hull")
