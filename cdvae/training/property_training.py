"""Fit of the property property model, apart from the autoencoder; resumable."""

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
from cdvae.config import PropertyModelConfig, TrainConfig
from cdvae.data.dataset import CrystalDataset
from cdvae.errors import DataError
from cdvae.nn.property_model import PropertyModel
from cdvae.training.checkpoint import load_state, optimizer_tensors, restore_optimizer, save_state
from cdvae.training.graph_cache import Graphs

FILE = "property_model.safetensors"
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


def batches(num_atoms: Tensor, config: PropertyModelConfig, start: int) -> Iterator[Tensor]:
    """Crystal indices of the steps from ``start`` on, the same after a resume.

    Every epoch shuffles anew; crystals of similar size share a batch.
    """
    size = config.batch_size
    per_epoch = len(num_atoms) // size
    if per_epoch == 0:
        raise DataError(f"{len(num_atoms)} training crystals are fewer than a batch of {size}")
    for step in range(start, config.steps):
        epoch, within = divmod(step, per_epoch)
        if within == 0 or step == start:
            rng = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
            order = torch.randperm(len(num_atoms), generator=rng)[: per_epoch * size]
            groups = order.split(SIZE_GROUP * size)
            ordered = torch.cat([g[num_atoms[g].argsort(stable=True)] for g in groups])
            parts = ordered.view(per_epoch, size)[torch.randperm(per_epoch, generator=rng)]
        yield parts[within]


def property_model_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean Huber loss over the known values of ``target`` (B, P); NaN is unknown."""
    known = target.isfinite()
    error = smooth_l1_loss(predicted[known], target[known], beta=HUBER, reduction="sum")
    return error / known.sum().clamp(min=1)


@torch.no_grad()
def mean_errors(
    property_model: PropertyModel, graphs: Graphs, data: CrystalDataset
) -> dict[str, float]:
    """Mean absolute error of each property over its known values, in the units of the data."""
    property_model.eval()
    device = graphs.num_atoms.device
    rows = data.crystals.num_atoms.argsort(stable=True)
    parts = [
        property_model(data.crystals.select(part).to(device), graphs.select(part.to(device)))
        for part in rows.split(CHUNK_CRYSTALS)
    ]
    values = torch.cat(parts) * property_model.property_std + property_model.property_mean
    errors = (values.cpu() - data.properties[rows]).abs().nanmean(0)
    return dict(zip(data.property_names, errors.tolist(), strict=True))


def fit_property_model(
    config: TrainConfig,
    data: CrystalDataset,
    validation: CrystalDataset,
    folder: Path,
    on_step: OnStep,
) -> tuple[PropertyModel, dict[str, float]]:
    """The averaged property model and its mean absolute errors on ``validation``.

    ``folder`` keeps ``property_model.safetensors``, written every two minutes and at the end, and
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
    settings, device = config.property_model, torch.device(default_device())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = PropertyModel(settings.backbone, len(config.model.properties))
    model.fit_scalers(data.crystals, data.properties)
    model.to(device)
    # The average looks back over a tenth of the run, at most over a thousand steps.
    decay = min(0.999, max(0.0, 1 - 10 / settings.steps))
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
    optimizer = torch.optim.AdamW(
        model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    path, step, curve = folder / FILE, 0, []
    if path.exists():
        groups, meta = load_state(path)
        model.load_state_dict(groups["model"])
        average.load_state_dict(groups["average"])
        restore_optimizer(optimizer, groups["optimizer"])
        step, curve = meta["step"], meta["curve"]
    if step == settings.steps:
        return load_property_model(config, folder)

    crystals, target = data.crystals.to(device), model.target(data.properties.to(device))
    graphs = Graphs(model, crystals)
    unseen = Graphs(model, validation.crystals.to(device))
    if settings.compile:
        model.backbone.interact = torch.compile(model.backbone.interact, dynamic=True)
    saved = time.monotonic()
    for rows in batches(data.crystals.num_atoms, settings, step):
        rows = rows.to(device)
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * one_cycle(step, settings.steps)
        loss = property_model_loss(model(crystals.select(rows), graphs.select(rows)), target[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(model)
        step += 1
        last = step == settings.steps
        if step % VALIDATE_EVERY == 0 or last:
            curve.append({"step": step, "mae": mean_errors(average.module, unseen, validation)})
        if last or time.monotonic() - saved > CHECKPOINT_SECONDS:
            groups = {
                "model": model.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer_tensors(optimizer),
            }
            save_state(path, groups, {"step": step, "curve": curve})
            saved = time.monotonic()
        on_step(step, float(loss.detach()))
    return load_property_model(config, folder)


def load_property_model(
    config: TrainConfig, folder: Path
) -> tuple[PropertyModel, dict[str, float]]:
    """The averaged property model in a run's folder and its mean absolute errors on validation
    data.

    Raises:
        DataError: there is none, or its training is not finished.
    """
    groups, meta = load_state(folder / FILE)
    if meta["step"] < config.property_model.steps:
        raise DataError(
            f"{folder}: property model after {meta['step']} of {config.property_model.steps}"
        )
    property_model = PropertyModel(config.property_model.backbone, len(config.model.properties))
    prefix = "module."
    property_model.load_state_dict(
        {k[len(prefix) :]: v for k, v in groups["average"].items() if k.startswith(prefix)}
    )
    return property_model.eval().requires_grad_(False), meta["curve"][-1]["mae"]
