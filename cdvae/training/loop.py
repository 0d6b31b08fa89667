"""The training loop of the autoencoder: one process or many (torchrun), CPU or CUDA, resumable."""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from cdvae.crystal import CrystalBatch
from cdvae.data.dataset import CrystalDataset
from cdvae.errors import DataError
from cdvae.loss import LossTerms, compute_loss
from cdvae.model.cdvae import CDVAE
from cdvae.noise import NoiseSchedule
from cdvae.training.checkpoint import (
    load_state,
    optimiser_tensors,
    restore_optimiser,
    save_state,
)
from cdvae.training.config import OptimiserConfig, TrainConfig
from cdvae.training.validation import validate

CHECKPOINT_SECONDS = 120
LOG_EVERY = 50
VALIDATE_EVERY = 1000


class Objective(nn.Module):
    """The loss as a module, so that DistributedDataParallel sees one forward call."""

    def __init__(self, model: CDVAE, config: TrainConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.schedule = NoiseSchedule.geometric(
            config.model.sigma_max, config.model.sigma_min, levels=2
        )

    def forward(
        self, crystals: CrystalBatch, properties: Tensor, rng: torch.Generator
    ) -> tuple[Tensor, LossTerms]:
        """The weighted total and its terms."""
        terms = compute_loss(
            self.model,
            crystals,
            properties,
            NoiseSchedule(self.schedule.sigmas.to(properties.device)),
            self.config.optimiser.noisy_copies,
            rng,
        )
        return terms.total(self.config.loss), terms


@dataclass(frozen=True)
class Place:
    """This process among its peers, and its device."""

    rank: int
    peers: int
    device: torch.device

    @staticmethod
    def join() -> Place:
        """Joins the group that torchrun describes; alone without it."""
        cuda = torch.cuda.is_available()
        if "RANK" not in os.environ:
            return Place(0, 1, torch.device("cuda" if cuda else "cpu"))
        distributed.init_process_group("nccl" if cuda else "gloo")
        local = int(os.environ["LOCAL_RANK"])
        device = torch.device("cuda", local) if cuda else torch.device("cpu")
        return Place(distributed.get_rank(), distributed.get_world_size(), device)


def learning_rate(step: int, config: OptimiserConfig) -> float:
    """Linear warm-up, then a cosine to ``final_fraction`` of the peak."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    share = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))
    return config.learning_rate * (config.final_fraction + (1 - config.final_fraction) * cosine)


def batches(size: int, config: OptimiserConfig, place: Place, start: int) -> Iterator[Tensor]:
    """Crystal indices of this process for the steps from ``start`` on, the same after a resume."""
    per_epoch = size // (config.batch_size * place.peers)
    if per_epoch == 0:
        raise DataError(
            f"{size} training crystals are fewer than a batch of {config.batch_size}"
            f" on {place.peers} processes"
        )
    for step in range(start, config.steps):
        epoch, within = divmod(step, per_epoch)
        if within == 0 or step == start:
            rng = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
            order = torch.randperm(size, generator=rng)
        first = (within * place.peers + place.rank) * config.batch_size
        yield order[first : first + config.batch_size]


def train(
    config: TrainConfig, data: CrystalDataset, validation: CrystalDataset, run: Path
) -> CDVAE:
    """The averaged model after ``config.optimiser.steps`` steps.

    ``run`` holds ``state.safetensors``, written every two minutes and resumed from if it is there,
    and the curves ``train.csv`` and ``validation.csv``.

    Raises:
        DataError: the data or the state in ``run`` does not fit the configuration.
    """
    place = Place.join()
    settings = config.optimiser
    torch.manual_seed(settings.seed)
    model = CDVAE(config.model).to(place.device)
    model.heads.fit_scalers(data.crystals, data.properties)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay))
    optimiser = torch.optim.AdamW(
        model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    rng = torch.Generator(place.device).manual_seed(settings.seed * 7919 + place.rank)

    def save(step: int) -> None:
        groups = {
            "model": model.state_dict(),
            "average": average.state_dict(),
            "optimiser": optimiser_tensors(optimiser),
        }
        save_state(run / "state.safetensors", groups, {"step": step, "name": config.name})

    start = 0
    if (run / "state.safetensors").exists():
        groups, meta = load_state(run / "state.safetensors")
        model.load_state_dict(groups["model"])
        average.load_state_dict(groups["average"])
        restore_optimiser(optimiser, groups["optimiser"])
        start = meta["step"]
        rng.manual_seed(settings.seed * 7919 + place.rank + start)

    if settings.compile:
        model.encoder.backbone.compile(dynamic=True)
        model.decoder.backbone.compile(dynamic=True)
    objective: nn.Module = Objective(model, config)
    if place.peers > 1:
        objective = DistributedDataParallel(objective)
    crystals, properties = data.crystals.to(place.device), data.properties.to(place.device)
    saved = time.monotonic()
    bar = tqdm(initial=start, total=settings.steps, disable=place.rank > 0, unit="step")
    for step, rows in enumerate(batches(len(data), settings, place, start), start):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, settings)
        rows = rows.to(place.device)
        total, terms = objective(crystals.select(rows), properties[rows], rng)
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), settings.gradient_norm)
        if norm.isfinite():  # a step with a broken gradient would be for ever
            optimiser.step()
            average.update_parameters(model)
        bar.update()
        done = step + 1
        if place.rank == 0:
            if done % LOG_EVERY == 0:
                row = terms.detached()
                _append(run / "train.csv", {"step": done, "norm": float(norm), **row})
                bar.set_postfix(total=f"{float(total.detach()):.3f}")
            if done % VALIDATE_EVERY == 0 or done == settings.steps:
                figures = validate(average.module, validation, config, place.device)
                _append(run / "validation.csv", {"step": done, **figures})
            if time.monotonic() - saved > CHECKPOINT_SECONDS or done == settings.steps:
                save(done)
                saved = time.monotonic()
    bar.close()
    if place.peers > 1:
        distributed.destroy_process_group()
    result: CDVAE = average.module
    return result.eval()


def _append(path: Path, row: dict[str, float]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row))
        if fresh:
            writer.writeheader()
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
