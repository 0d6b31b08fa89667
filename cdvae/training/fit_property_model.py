"""Fit of the property estimator, apart from the autoencoder; resumable."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import smooth_l1_loss
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from cdvae.compute import default_device
from cdvae.config import EstimatorConfig, TrainConfig
from cdvae.data.dataset import CrystalDataset
from cdvae.errors import DataError
from cdvae.nn.property_model import PropertyEstimator
from cdvae.training.checkpoint import load_state, optimiser_tensors, restore_optimiser, save_state
from cdvae.training.graph_cache import Graphs

FILE = "estimator.safetensors"
CHECKPOINT_SECONDS = 120
VALIDATE_EVERY = 1000
CHUNK_CRYSTALS = 128
SIZE_GROUP = 8
"""Batches that are sorted by size together: rows of a batch are padded to its largest crystal."""
HUBER = 0.1
"""Standard deviations above which an error counts linearly: the goal is a small mean error."""

OnStep = Callable[[int, float], None]


def one_cycle(step: int, steps: int) -> float:
    """Share of the peak learning rate: linear warm-up over a twentieth, then a cosine to zero."""
    warm_up = max(1, steps // 20)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def batches(n_atoms: Tensor, config: EstimatorConfig, start: int) -> Iterator[Tensor]:
    """Crystal indices of the steps from ``start`` on, the same after a resume.

    Every epoch shuffles anew; crystals of similar size share a batch.
    """
    size = config.batch_size
    per_epoch = len(n_atoms) // size
    if per_epoch == 0:
        raise DataError(f"{len(n_atoms)} training crystals are fewer than a batch of {size}")
    for step in range(start, config.steps):
        epoch, within = divmod(step, per_epoch)
        if within == 0 or step == start:
            rng = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
            order = torch.randperm(len(n_atoms), generator=rng)[: per_epoch * size]
            groups = order.split(SIZE_GROUP * size)
            ordered = torch.cat([g[n_atoms[g].argsort(stable=True)] for g in groups])
            parts = ordered.view(per_epoch, size)[torch.randperm(per_epoch, generator=rng)]
        yield parts[within]


def estimator_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean Huber loss over the known values of ``target`` (B, P); NaN is unknown."""
    known = target.isfinite()
    error = smooth_l1_loss(predicted[known], target[known], beta=HUBER, reduction="sum")
    return error / known.sum().clamp(min=1)


@torch.no_grad()
def mean_errors(
    estimator: PropertyEstimator, graphs: Graphs, data: CrystalDataset
) -> dict[str, float]:
    """Mean absolute error of each property over its known values, in the units of the data."""
    estimator.eval()
    device = graphs.n_atoms.device
    rows = data.crystals.n_atoms.argsort(stable=True)
    parts = [
        estimator(data.crystals.select(part).to(device), graphs.select(part.to(device)))
        for part in rows.split(CHUNK_CRYSTALS)
    ]
    values = torch.cat(parts) * estimator.property_std + estimator.property_mean
    errors = (values.cpu() - data.properties[rows]).abs().nanmean(0)
    return dict(zip(data.property_names, errors.tolist(), strict=True))


def fit_estimator(
    config: TrainConfig,
    data: CrystalDataset,
    validation: CrystalDataset,
    folder: Path,
    on_step: OnStep,
) -> tuple[PropertyEstimator, dict[str, float]]:
    """The averaged estimator and its mean absolute errors on ``validation``.

    ``folder`` keeps ``estimator.safetensors``, written every two minutes and at the end, and
    resumed from if it is there. Its meta holds the errors along the way.

    Args:
        config: the settings of the run.
        data: training crystals with properties, NaN where unknown.
        validation: crystals to measure on; they choose nothing here.
        folder: of the run's state.
        on_step: called with the number of steps done and the loss; may raise to stop.

    Raises:
        DataError: there are fewer crystals than a batch, or the state is of another kind.
    """
    settings, device = config.estimator, torch.device(default_device())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = PropertyEstimator(settings.backbone, len(config.model.properties))
    model.fit_scalers(data.crystals, data.properties)
    model.to(device)
    # The average looks back over a tenth of the run, at most over a thousand steps.
    decay = min(0.999, max(0.0, 1 - 10 / settings.steps))
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
    optimiser = torch.optim.AdamW(
        model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    path, step, curve = folder / FILE, 0, []
    if path.exists():
        groups, meta = load_state(path)
        model.load_state_dict(groups["model"])
        average.load_state_dict(groups["average"])
        restore_optimiser(optimiser, groups["optimiser"])
        step, curve = meta["step"], meta["curve"]
    if step == settings.steps:
        return load_estimator(config, folder)

    crystals, target = data.crystals.to(device), model.target(data.properties.to(device))
    graphs = Graphs(model, crystals)
    unseen = Graphs(model, validation.crystals.to(device))
    if settings.compile:
        model.backbone.interact = torch.compile(model.backbone.interact, dynamic=True)
    saved = time.monotonic()
    for rows in batches(data.crystals.n_atoms, settings, step):
        rows = rows.to(device)
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * one_cycle(step, settings.steps)
        loss = estimator_loss(model(crystals.select(rows), graphs.select(rows)), target[rows])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        average.update_parameters(model)
        step += 1
        last = step == settings.steps
        if step % VALIDATE_EVERY == 0 or last:
            curve.append({"step": step, "mae": mean_errors(average.module, unseen, validation)})
        if last or time.monotonic() - saved > CHECKPOINT_SECONDS:
            groups = {
                "model": model.state_dict(),
                "average": average.state_dict(),
                "optimiser": optimiser_tensors(optimiser),
            }
            save_state(path, groups, {"step": step, "curve": curve})
            saved = time.monotonic()
        on_step(step, float(loss.detach()))
    return load_estimator(config, folder)


def load_estimator(config: TrainConfig, folder: Path) -> tuple[PropertyEstimator, dict[str, float]]:
    """The averaged estimator in a run's folder and its mean absolute errors on validation data.

    Raises:
        DataError: there is none, or its training is not finished.
    """
    groups, meta = load_state(folder / FILE)
    if meta["step"] < config.estimator.steps:
        raise DataError(f"{folder}: estimator after {meta['step']} of {config.estimator.steps}")
    estimator = PropertyEstimator(config.estimator.backbone, len(config.model.properties))
    prefix = "module."
    estimator.load_state_dict(
        {k[len(prefix) :]: v for k, v in groups["average"].items() if k.startswith(prefix)}
    )
    return estimator.eval().requires_grad_(False), meta["curve"][-1]["mae"]
