"""`cdvae evaluate`: the paper's three tasks, measured and written as JSON."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from cdvae_service.cli.console import (
    Home,
    ModelName,
    Nfe,
    Sampler,
    Seed,
    Stage,
    Store,
    errors,
    find,
    load,
    read,
)
from cdvae_service.cli.console import stages as progress_bars

RECON_GEN_CRYSTALS, OPT_CRYSTALS = 1000, 100


class EvaluationTask(StrEnum):
    """What can be measured."""

    RECON = "recon"
    GEN = "gen"
    OPT = "opt"


def evaluate(
    model: ModelName,
    task: Annotated[
        EvaluationTask,
        typer.Option(help="recon: reconstruction; gen: generation; opt: property optimization."),
    ],
    data: Annotated[
        Path,
        typer.Option(help="CSV (or .csv.gz): crystals to reconstruct, to compare, to start from."),
    ],
    out: Annotated[
        Path | None, typer.Option(help="File for the result, which is printed too (JSON).")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Number of crystals: 1000; with opt 100 starts."),
    ] = None,
    seed: Seed = 0,
    sampler: Sampler = "ancestral",
    nfe: Nfe = None,
    judge: Annotated[
        str | None,
        typer.Option(help="Model whose independent property model judges; by default MODEL."),
    ] = None,
    train: Annotated[
        Path | None,
        typer.Option(help="gen: training crystals (CSV) for novelty by StructureMatcher."),
    ] = None,
    coverage_thresholds: Annotated[
        tuple[float, float] | None,
        typer.Option(help="gen: structure and composition; by default those of the data set."),
    ] = None,
    store: Store = None,
    home: Home = Path(".cdvae"),
) -> None:
    """Measure a model; fractions are 0 to 1."""
    number = limit or (OPT_CRYSTALS if task is EvaluationTask.OPT else RECON_GEN_CRYSTALS)
    with errors(), progress_bars() as stage:
        method, card, sampled_by = _method(model, store, sampler, nfe)
        referee = _referee(method, judge, store)
        if task is EvaluationTask.GEN:
            limits = coverage_thresholds
            figures = _generation(method, referee, data, number, seed, limits, train, home, stage)
        else:
            properties = referee.card["properties"]
            crystals = read(data, properties, stage("reading"), number)
            number = len(crystals)
            if task is EvaluationTask.RECON:
                figures = _reconstruction(method, crystals, seed, stage)
            else:
                figures = _optimization(method, referee, crystals, seed, stage)
    options = [f"--task {task.value} --data {data.name}"]
    options += [f"--train {train.name}"] if train else []
    options += [f"--limit {number}", *sampled_by]
    options += [f"--judge {judge}"] if judge else []
    facts = {
        "command": f"cdvae evaluate {model} {' '.join(options)} --seed {seed}",
        "task": task.value,
        "model": f"{card['name']}@{card['version']}",
        "weights_sha256": card["weights_sha256"],
        "judge": f"{referee.name}@{referee.version}",
        "data": data.name,
        "number": number,
        "seed": seed,
        "sampler": sampler if sampled_by else None,
        **figures,
    }
    text = json.dumps(facts, indent=2)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text + "\n", encoding="utf-8")
    typer.echo(text)


def _method(
    reference: str, store: str | None, sampler: str, nfe: int | None
) -> tuple[Any, dict[str, Any], list[str]]:
    """What is evaluated, its card, and the options that say how it samples, if it can be told."""
    folder = find(reference, store)
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    if card.get("method") == "ftcp":
        from baselines.ftcp.ftcp_folder import load_ftcp

        return load_ftcp(folder), card, []
    from cdvae.evaluation.method import CDVAEMethod
    from cdvae.inference import SamplerSpec

    options = [f"--sampler {sampler}", *([f"--nfe {nfe}"] if nfe else [])]
    return CDVAEMethod(load(str(folder), store), SamplerSpec(sampler, nfe)), card, options


def _referee(method: Any, judge: str | None, store: str | None) -> Any:
    """The model whose independent property model judges."""
    if judge:
        return load(judge, store)
    if not hasattr(method, "model"):
        raise ValueError("a baseline has no independent property model; name a --judge")
    return method.model


def _reconstruction(method: Any, crystals: Any, seed: int, stage: Stage) -> dict[str, Any]:
    from cdvae.compute import available_threads
    from cdvae.evaluation.method import CDVAEMethod
    from cdvae.evaluation.task_reconstruction import evaluate_reconstruction, reconstruct

    measure = reconstruct if isinstance(method, CDVAEMethod) else evaluate_reconstruction
    workers = available_threads()
    figures: dict[str, Any] = measure(method, crystals, seed, workers, stage("crystals"))
    return figures


def _generation(
    method: Any,
    referee: Any,
    data: Path,
    number: int,
    seed: int,
    limits: tuple[float, float] | None,
    train: Path | None,
    home: Path,
    stage: Stage,
) -> dict[str, Any]:
    from cdvae.compute import available_threads
    from cdvae.evaluation.task_generation import evaluate_generation
    from cdvae.metrics.coverage import Thresholds, thresholds
    from cdvae.metrics.coverage_fingerprint import featurizer_version

    featurizer_version()  # says that matminer is missing before the long part of the work
    figures: dict[str, Any] = evaluate_generation(
        method,
        referee,
        read(data, {}, stage("reading")),
        number,
        seed,
        Thresholds(*limits) if limits else thresholds(referee.card["dataset"]),
        train=read(train, {}, stage("reading the training data")) if train else None,
        cache=home / "fingerprints",
        workers=available_threads(),
        stage=stage,
    )
    return figures


def _optimization(
    method: Any, referee: Any, crystals: Any, seed: int, stage: Stage
) -> dict[str, Any]:
    """The first property of the referee is the target, as in the paper."""
    from cdvae.evaluation.task_optimization import optimization_success, percentiles

    target = referee.properties[0]
    limits = percentiles(referee.card, target)
    figures: dict[str, Any] = optimization_success(
        method, referee, crystals, target, limits, seed, stage("crystals")
    )
    return figures
