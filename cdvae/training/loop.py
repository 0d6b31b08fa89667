"""The training loop of the autoencoder, in one process or several (torchrun), resumable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import distributed
from tqdm import tqdm

from cdvae.config import TrainConfig
from cdvae.data.dataset import CrystalDataset
from cdvae.nn.autoencoder import CDVAE
from cdvae.nn.backbone import compile_interaction
from cdvae.training.schedule import batches
from cdvae.training.trainer import CHECKPOINT_SECONDS, append_row
from cdvae.training.training_run import AutoencoderRun
from cdvae.training.validation import validate

LOG_EVERY = 50
VALIDATE_EVERY = 1000


def train(
    config: TrainConfig,
    data: CrystalDataset,
    validation: CrystalDataset,
    folder: Path,
    init: Path | None = None,
    *,
    on_step: Callable[[int], None] | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> CDVAE:
    """Return the averaged model after ``config.optimizer.steps`` steps.

    Args:
        config: the settings of the run.
        data: training crystals.
        validation: crystals for the validation curve.
        folder: holds ``state.safetensors``, from which an interrupted run resumes, and the curves
            ``train.csv`` and ``validation.csv``.
        init: a model folder; a fresh run starts with its weights where names and shapes agree.
        on_step: called with the number of steps done; may raise to stop.
        checkpoint_seconds: time between two checkpoints.

    Raises:
        DataError: the data, ``init`` or the state in ``folder`` does not fit the configuration.
    """
    run = AutoencoderRun(config, data, folder, init, checkpoint_seconds)
    trainer, process, settings = run.trainer, run.process, config.optimizer
    if settings.compile:
        for part in (run.model.encoder, run.model.decoder):
            compile_interaction(part.backbone)
    crystals, properties = data.crystals.to(process.device), data.properties.to(process.device)
    bar = tqdm(
        initial=trainer.step,
        total=settings.steps,
        disable=process.rank > 0,
        unit="step",
        mininterval=1,
    )
    loss = run.loss()
    for rows in batches(
        data.crystals.num_atoms,
        settings.batch_size,
        settings.seed,
        range(trainer.step, settings.steps),
        process.rank,
        process.peers,
    ):
        if trainer.step == settings.freeze_encoder_after:
            loss = run.loss()
        rows = rows.to(process.device)
        total, terms = loss(crystals.select(rows), properties[rows], trainer.generator())
        norm = trainer.update(total)
        bar.update()
        if process.rank > 0:
            continue
        last = trainer.step == settings.steps
        if trainer.step % LOG_EVERY == 0:
            row = {"step": trainer.step, "norm": norm, **terms.detached()}
            append_row(folder / "train.csv", row)
            bar.set_postfix(total=f"{float(total.detach()):.3f}")
        if trainer.step % VALIDATE_EVERY == 0 or last:
            figures = validate(run.averaged, validation, config, process.device)
            append_row(folder / "validation.csv", {"step": trainer.step, **figures})
        trainer.save(now=last)
        if on_step:
            on_step(trainer.step)
    bar.close()
    if process.peers > 1:
        distributed.barrier()  # rank 0 may still be writing
        distributed.destroy_process_group()
    return run.averaged.eval()
