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
from safetensors import SafetensorError, safe_open
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from cdvae.config import OptimiserConfig, TrainConfig
from cdvae.crystal import CrystalBatch
from cdvae.data.dataset import CrystalDataset
from cdvae.errors import DataError
from cdvae.loss import Corruption, LossTerms, compute_loss
from cdvae.model.cdvae import CDVAE
from cdvae.noise import NoiseSchedule
from cdvae.training.augmentation import perturb
from cdvae.training.checkpoint import (
    load_state,
    optimiser_tensors,
    restore_optimiser,
    save_state,
)
from cdvae.training.validation import validate

CHECKPOINT_SECONDS = 120
LOG_EVERY = 50
VALIDATE_EVERY = 1000
SORT_BATCHES = 16


class Objective(nn.Module):
    """The loss as a module, so that DistributedDataParallel sees one forward call."""

    def __init__(self, model: CDVAE, config: TrainConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.corruption = Corruption(
            NoiseSchedule(config.model.sigma_max, config.model.sigma_min),
            config.optimiser.noisy_copies,
            config.optimiser.codeless_share,
        )

    def forward(
        self, crystals: CrystalBatch, properties: Tensor, rng: torch.Generator
    ) -> tuple[Tensor, LossTerms]:
        """The weighted total and its terms."""
        share, distorted = self.config.optimiser.perturbed_share, None
        if share > 0:
            crystals, properties, distorted = perturb(crystals, properties, share, rng)
        terms = compute_loss(self.model, crystals, properties, self.corruption, rng, distorted)
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


def batches(n_atoms: Tensor, config: OptimiserConfig, place: Place, start: int) -> Iterator[Tensor]:
    """Crystal indices of this process for the steps from ``start`` on, the same after a resume.

    Crystals of about the same size share a batch, because rows are padded to the largest: batches
    are cut from pools of SORT_BATCHES batches sorted by size, and then shuffled.
    """
    size = len(n_atoms)
    width = config.batch_size * place.peers
    per_epoch = size // width
    if per_epoch == 0:
        raise DataError(
            f"{size} training crystals are fewer than a batch of {config.batch_size}"
            f" on {place.peers} processes"
        )
    for step in range(start, config.steps):
        epoch, within = divmod(step, per_epoch)
        if within == 0 or step == start:
            rng = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
            order = torch.randperm(size, generator=rng)[: per_epoch * width]
            pools = order.split(SORT_BATCHES * width)
            order = torch.cat([p[n_atoms[p].argsort(stable=True)] for p in pools])
            order = order.view(per_epoch, width)[torch.randperm(per_epoch, generator=rng)]
        yield order[within, place.rank :: place.peers]


class Run:
    """The state of a training run: network, average, optimiser, random numbers, files."""

    def __init__(
        self, config: TrainConfig, data: CrystalDataset, folder: Path, init: Path | None
    ) -> None:
        self.config = config
        self.folder = folder
        self.place = Place.join()
        settings = config.optimiser
        torch.manual_seed(settings.seed)
        self.model = CDVAE(config.model).to(self.place.device)
        if init is not None and not self.state.exists():
            take_weights(self.model, init)
        self.model.heads.fit_scalers(data.crystals, data.properties)
        self.average = AveragedModel(
            self.model, multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay)
        )
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(),
            settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.rng = torch.Generator(self.place.device)
        self.step = 0
        if self.state.exists():
            groups, meta = load_state(self.state)
            self.model.load_state_dict(groups["model"])
            self.average.load_state_dict(groups["average"])
            restore_optimiser(self.optimiser, groups["optimiser"])
            self.step = meta["step"]
        self.rng.manual_seed((settings.seed * 7919 + self.place.rank) * 1_000_003 + self.step)
        self._saved = time.monotonic()

    @property
    def state(self) -> Path:
        """The file that the run is resumed from."""
        return self.folder / "state.safetensors"

    def save(self, *, now: bool) -> None:
        """Writes the state if two minutes have passed or ``now``."""
        if not now and time.monotonic() - self._saved < CHECKPOINT_SECONDS:
            return
        groups = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": optimiser_tensors(self.optimiser),
        }
        save_state(self.state, groups, {"step": self.step, "name": self.config.name})
        self._saved = time.monotonic()

    def objective(self) -> nn.Module:
        """The loss for the present phase; fixes encoder and heads when their phase is over.

        They are fixed at their averaged weights, so that the latents that the decoder sees from
        then on are those of the finished model, and the prior can be fitted to them.
        """
        if self.step >= self.config.optimiser.joint_steps:
            average = self.average.module
            self.model.encoder.load_state_dict(average.encoder.state_dict())
            self.model.heads.load_state_dict(average.heads.state_dict())
            self.model.encoder.requires_grad_(False)
            self.model.heads.requires_grad_(False)
        objective = Objective(self.model, self.config)
        return DistributedDataParallel(objective) if self.place.peers > 1 else objective

    def update(self, total: Tensor) -> float:
        """One step of the optimiser on the loss ``total``; returns the norm of the gradient."""
        settings = self.config.optimiser
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, settings)
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), settings.gradient_norm)
        if norm.isfinite():  # a step along a broken gradient could not be undone
            self.optimiser.step()
            self.average.update_parameters(self.model)
        self.step += 1
        return float(norm)


def take_weights(model: CDVAE, folder: Path) -> None:
    """Sets what ``model`` has in common with the network in a model folder: name and shape.

    Raises:
        DataError: there are no such weights, or they have nothing in common.
    """
    path = folder / "weights.safetensors"
    own, found = model.state_dict(), {}
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (not a mapping)
                key = name.removeprefix("network/")
                if key in own and list(own[key].shape) == file.get_slice(name).get_shape():
                    found[key] = file.get_tensor(name)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path}: no weights to begin with ({error})") from error
    if not found:
        raise DataError(f"{path}: nothing in common with the network of the settings")
    model.load_state_dict({**own, **found})


def load_network(config: TrainConfig, folder: Path) -> tuple[CDVAE, int]:
    """The averaged model in a run's folder and the number of steps it has seen."""
    groups, meta = load_state(folder / "state.safetensors")
    model = CDVAE(config.model)
    prefix = "module."
    model.load_state_dict(
        {k[len(prefix) :]: v for k, v in groups["average"].items() if k.startswith(prefix)}
    )
    return model.eval(), meta["step"]


def train(
    config: TrainConfig,
    data: CrystalDataset,
    validation: CrystalDataset,
    folder: Path,
    init: Path | None = None,
) -> CDVAE:
    """The averaged model after ``config.optimiser.steps`` steps.

    ``folder`` holds ``state.safetensors``, written every two minutes and resumed from if it is
    there, and the curves ``train.csv`` and ``validation.csv``. A fresh run begins with the weights
    of the model folder ``init`` where names and shapes agree.

    Raises:
        DataError: the data, ``init`` or the state in ``folder`` does not fit the configuration.
    """
    run = Run(config, data, folder, init)
    settings, place = config.optimiser, run.place
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
    objective = run.objective()
    for rows in batches(data.crystals.n_atoms, settings, place, run.step):
        if run.step == settings.joint_steps:
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
