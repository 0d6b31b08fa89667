"""Commands around the stability of crystals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cdvae_service.cli.console import ModelName, Nfe, Sampler, Store, errors, load, stages

Potential = Annotated[str, typer.Option(help="chgnet or sevennet.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads of torch; default: all.")]


def label(
    model: ModelName,
    out: Annotated[Path, typer.Option(help="Folder of the label files; existing ones are kept.")],
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds.")] = 100,
    first_seed: Annotated[int, typer.Option(min=0, help="The first of them.")] = 0,
    number: Annotated[int, typer.Option("-n", "--number", min=1, help="Crystals per seed.")] = 100,
    max_steps: Annotated[int, typer.Option(min=1, help="Steps of a relaxation at most.")] = 150,
    potential: Potential = "chgnet",
    sampler: Sampler = "ancestral",
    nfe: Nfe = None,
    store: Store = None,
    threads: Threads = None,
) -> None:
    """Sample crystals, relax them and store both: training data of a critic. Resumable."""
    from cdvae.compute import configure
    from cdvae.evaluation.sampling_protocol import generate
    from cdvae.inference import SamplerSpec
    from cdvae.stability.labels import label_file, label_seed
    from cdvae.stability.potentials import load_potential

    with errors(), stages() as stage:
        loaded, relaxer = load(model, store), load_potential(potential)
        configure(threads)
        origin = {
            "model": f"{loaded.name}@{loaded.version}",
            "weights_sha256": loaded.weights_sha256,
            "sampler": sampler,
        }
        report = stage("seeds")
        for place, seed in enumerate(range(first_seed, first_seed + seeds)):
            report(place, seeds)
            if label_file(out, seed).exists():
                continue
            result = generate(loaded, number, seed, SamplerSpec(sampler, nfe))
            facts = {**origin, "nfe": result.metrics["nfe"]}
            label_seed(out, seed, result.structures, relaxer, facts, max_steps=max_steps)
    typer.echo(f"labels of {seeds} seeds → {out}")


def register(app: typer.Typer) -> None:
    """Add the commands to the console program."""
    critic = typer.Typer(help="A model that predicts stability.", no_args_is_help=True)
    critic.command("label")(label)
    app.add_typer(critic, name="critic")
