"""Commands without a service: prepare data, train, sample, evaluate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from cdvae_service.cli.console import (
    ModelName,
    Nfe,
    Sampler,
    Seed,
    Store,
    errors,
    load,
    stages,
)
from cdvae_service.cli.science import hull_commands, stability_commands
from cdvae_service.cli.science.evaluate_command import evaluate


def prepare(
    source: Annotated[Path, typer.Argument(help="CSV, CSV.gz with a cif column, or CIF folder.")],
    out: Annotated[Path, typer.Argument(help="Tensor cache to write (.safetensors).")],
    column: Annotated[
        list[str] | None,
        typer.Option("--property", "-p", help="NAME=COLUMN, once for each property."),
    ] = None,
) -> None:
    """Convert crystals to tensors for training."""
    from cdvae.compute import available_threads
    from cdvae.data.tensor_cache import prepare as write_cache

    pairs = [text.partition("=") for text in column or []]
    if not all(name and equals and origin for name, equals, origin in pairs):
        raise typer.BadParameter("a property is NAME=COLUMN")
    properties = {name: origin for name, _, origin in pairs}
    with errors(), stages() as stage:
        facts = write_cache(source, out, properties, available_threads(), stage("crystals"))
    typer.echo(f"{facts['num_crystals']} crystals, {facts['num_atoms']} atoms → {out}")


def train(
    config: Annotated[Path, typer.Argument(help="Settings (TOML).")],
    data: Annotated[Path, typer.Option(help="Folder with train and val.safetensors.")],
    out: Annotated[Path, typer.Option(help="Model folder to write: …/<name>/<version>.")],
    state: Annotated[
        Path | None, typer.Option(help="Folder of the training state; an existing one is resumed.")
    ] = None,
    init: Annotated[
        Path | None, typer.Option(help="Model folder with the initial weights of a new run.")
    ] = None,
    commit: Annotated[str, typer.Option(help="Commit, for the card.")] = "unknown",
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of torch.")] = None,
) -> None:
    """Train a model or the FTCP baseline and write its folder."""
    from baselines.ftcp.ftcp_config import is_ftcp
    from cdvae.compute import configure

    configure(threads)
    with errors():
        run = state or Path("runs") / config.stem
        if is_ftcp(config):
            from baselines.ftcp.ftcp_folder import train_ftcp

            if init is not None:
                raise typer.BadParameter(
                    "the baseline cannot start from other weights", param_hint="--init"
                )
            train_ftcp(config, data, run, out, commit)
        else:
            from cdvae.training.train import train_and_export

            train_and_export(config, data, run, out, commit, init)
    typer.echo(f"model written to {out}")


def sample(
    model: ModelName,
    out: Annotated[Path, typer.Option(help="Folder for the CIF files and summary.json.")] = Path(
        "out"
    ),
    number: Annotated[int, typer.Option("-n", "--number", min=1, help="How many.")] = 16,
    seed: Seed = 0,
    sampler: Sampler = "ancestral",
    nfe: Nfe = None,
    store: Store = None,
) -> None:
    """Generate crystals and write one CIF each to a folder."""
    from cdvae.data.cif_writer import write_cif
    from cdvae.evaluation.sampling_protocol import generate
    from cdvae.inference import SamplerSpec

    with errors(), stages() as stage:
        loaded = load(model, store)
        result = generate(loaded, number, seed, SamplerSpec(sampler, nfe), stage("crystals"))
        origin = {
            "generator": "cdvae",
            "model": f"{loaded.name}@{loaded.version}",
            "weights_sha256": loaded.weights_sha256,
            "seed": seed,
            "sampler": sampler,
        }
        out.mkdir(parents=True, exist_ok=True)
        for i, structure in enumerate(result.structures):
            text = write_cif(structure, {**origin, "nfe": result.nfe[i], "index": i})
            (out / f"{i:05d}.cif").write_text(text, encoding="utf-8")
    counts = {name: result.metrics[name] for name in ("nfe", "max_nfe")}
    summary = {"metrics": result.metrics, "provenance": {**origin, **counts}}
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    typer.echo(f"{number} crystals → {out}")


def register(app: typer.Typer) -> None:
    """Add the commands to the console program."""
    data_app = typer.Typer(help="Data sets.", no_args_is_help=True)
    data_app.command("prepare")(prepare)
    app.add_typer(data_app, name="data")
    app.command()(train)
    app.command()(sample)
    app.command()(evaluate)
    hull_commands.register(app)
    stability_commands.register(app)
