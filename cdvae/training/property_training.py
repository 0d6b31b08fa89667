"""Training of the property model, which is independent of the autoencoder; resumable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from cdvae.compute import default_device
from cdvae.config import TrainConfig
from cdvae.data.dataset import CrystalDataset
from cdvae.errors import DataError
from cdvae.nn.backbone import compile_interaction
from cdvae.nn.property_model import PropertyModel
from cdvae.training.checkpoint import load_state
from cdvae.training.graph_cache import Graphs
from cdvae.training.schedule import batches, linear_cosine
from cdvae.training.trainer import (
    CHECKPOINT_SECONDS,
    Trainer,
    averaged_weights,
    ema_decay,
)

FILE = "property_model.safetensors"
VALIDATE_EVERY = 1000
CHUNK_CRYSTALS = 128
SIZE_GROUP = 8
"""Number of batches to sort by size together: a batch is padded to its largest crystal."""
HUBER = 0.1
"""Standard deviations above which an error counts linearly, for a small mean absolute error."""

OnStep = Callable[[int, float], None]


def property_model_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the mean Huber loss over the known values of ``target`` (B, P); NaN is unknown."""
    known = target.isfinite()
    error = smooth_l1_loss(predicted[known], target[known], beta=HUBER, reduction="sum")
    return error / known.sum().clamp(min=1)


@torch.no_grad()
def mean_errors(
    property_model: PropertyModel, graphs: Graphs, data: CrystalDataset
) -> dict[str, float]:
    """Return the mean absolute error of each property over its known values, units of the data."""
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
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> tuple[PropertyModel, dict[str, float]]:
    """Return the averaged property model and its mean absolute errors on ``validation``.

    Args:
        config: the settings of the run.
        data: training crystals with properties, NaN where unknown.
        validation: crystals for the errors only.
        folder: holds ``property_model.safetensors``, from which an interrupted run resumes.
        on_step: called with the number of steps done and the loss; may raise to stop.
        checkpoint_seconds: time between two checkpoints.

    Raises:
        DataError: there are fewer crystals than a batch, or the file is not a training state.
    """
    settings, device = config.property_model, torch.device(default_device())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = PropertyModel(settings.backbone, len(config.model.properties))
    model.fit_scalers(data.crystals, data.properties)
    model.to(device)
    trainer = Trainer(
        model,
        torch.optim.AdamW(
            model.parameters(),
            settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=True,
        ),
        folder / FILE,
        seed=settings.seed,
        schedule=lambda step: {"lr": settings.learning_rate * linear_cosine(step, settings.steps)},
        ema_decay=ema_decay(settings.steps),
        max_norm=1.0,
        checkpoint_seconds=checkpoint_seconds,
    )
    curve = trainer.meta.setdefault("curve", [])
    if trainer.step == settings.steps:
        return load_property_model(config, folder)

    crystals, target = data.crystals.to(device), model.target(data.properties.to(device))
    graphs = Graphs(model, crystals)
    unseen = Graphs(model, validation.crystals.to(device))
    if settings.compile:
        compile_interaction(model.backbone)
    steps = range(trainer.step, settings.steps)
    for rows in batches(
        data.crystals.num_atoms,
        settings.batch_size,
        settings.seed,
        steps,
        pool_batches=SIZE_GROUP,
    ):
        rows = rows.to(device)
        loss = property_model_loss(model(crystals.select(rows), graphs.select(rows)), target[rows])
        trainer.update(loss)
        last = trainer.step == settings.steps
        if trainer.step % VALIDATE_EVERY == 0 or last:
            averaged = trainer.result
            assert isinstance(averaged, PropertyModel)
            curve.append({"step": trainer.step, "mae": mean_errors(averaged, unseen, validation)})
        trainer.save(now=last)
        on_step(trainer.step, float(loss.detach()))
    return load_property_model(config, folder)


def load_property_model(
    config: TrainConfig, folder: Path
) -> tuple[PropertyModel, dict[str, float]]:
    """Return the averaged property model of a run and its mean absolute errors on validation data.

    Raises:
        DataError: there is no state in ``folder``, or its training is not finished.
    """
    groups, meta = load_state(folder / FILE)
    if meta["step"] < config.property_model.steps:
        raise DataError(
            f"{folder}: the property model has done {meta['step']} of"
            f" {config.property_model.steps} steps"
        )
    property_model = PropertyModel(config.property_model.backbone, len(config.model.properties))
    property_model.load_state_dict(averaged_weights(groups))
    return property_model.eval().requires_grad_(False), meta["curve"][-1]["mae"]
