"""The training loop of the autoencoder: one process or many (torchrun), CPU or CUDA, resumable."""

from __future__ import annotations

import csv
from pathlib import Path

import torch
from torch import distributed
from tqdm import tqdm

from cdvae.config import TrainConfig
from cdvae.data.dataset import CrystalDataset
from cdvae.nn.autoencoder import CDVAE
from cdvae.training.schedule import batches
from cdvae.training.training_run import Run
from cdvae.training.validation import validate

LOG_EVERY = 50
VALIDATE_EVERY = 1000


def train(
    config: TrainConfig,
    data: CrystalDataset,
    validation: CrystalDataset,
    folder: Path,
    init: Path | None = None,
) -> CDVAE:
    """The averaged model after ``config.optimizer.steps`` steps.

    ``folder`` holds ``state.safetensors``, written every two minutes and resumed from if it is
    there, and the curves ``train.csv`` and ``validation.csv``. A fresh run begins with the weights
    of the model folder ``init`` where names and shapes agree.

    Raises:
        DataError: the data, ``init`` or the state in ``folder`` does not fit the configuration.
    """
    run = Run(config, data, folder, init)
    settings, place = config.optimizer, run.place
    if settings.compile:
        for part in (run.model.encoder, run.model.decoder):
            part.backbone.interact = torch.compile(part.backbone.interact, dynamic=True)
    crystals, properties = data.crystals.to(place.device), data.properties.to(place.device)
    bar = tqdm(
        initial=run.step,
        total=settings.steps,
        disable=place.rank > 0,
        unit="step",
        mininterval=1,
    )
    sizes, objective = data.crystals.num_atoms, run.objective()
    for rows in batches(sizes, settings, place.rank, place.peers, run.step):
        if run.step == settings.freeze_encoder_after:
            objective = run.objective()
        rows = rows.to(place.device)
        total, terms = objective(crystals.select(rows), properties[rows], run.rng)
        norm = run.update(total)
        bar.update()
        if place.rank > 0:
            continue
        last = run.step == settings.steps
        if run.step % LOG_EVERY == 0:
            _append(folder / "train.csv", {"step": run.step, "norm": norm, **terms.detached()})
            bar.set_postfix(total=f"{float(total.detach()):.3f}")
        if run.step % VALIDATE_EVERY == 0 or last:
            figures = validate(run.average.module, validation, config, place.device)
            _append(folder / "validation.csv", {"step": run.step, **figures})
        run.save(now=last)
    bar.close()
    if place.peers > 1:
        distributed.barrier()  # rank 0 may still be writing
        distributed.destroy_process_group()
    result: CDVAE = run.average.module
    return result.eval()


def _append(path: Path, row: dict[str, float]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row))
        if fresh:
            writer.writeheader()
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
