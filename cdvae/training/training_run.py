"""The state of a training run: network, average, optimizer, its place among peers, its file."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from cdvae.config import TrainConfig
from cdvae.data.dataset import CrystalDataset
from cdvae.diffusion.noise import NoiseSchedule
from cdvae.errors import DataError
from cdvae.geometry.crystal import CrystalBatch
from cdvae.nn.autoencoder import CDVAE
from cdvae.training.augmentation import perturb
from cdvae.training.checkpoint import (
    load_state,
    optimizer_tensors,
    restore_optimizer,
    save_state,
)
from cdvae.training.loss import Corruption, LossTerms, compute_loss
from cdvae.training.schedule import learning_rate

CHECKPOINT_SECONDS = 120


class Objective(nn.Module):
    """The loss as a module, so that DistributedDataParallel sees one forward call."""

    def __init__(self, model: CDVAE, config: TrainConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.corruption = Corruption(
            NoiseSchedule(config.model.sigma_max, config.model.sigma_min),
            config.optimizer.noise_draws_per_crystal,
            config.optimizer.atom_latent_dropout,
        )

    def forward(
        self, crystals: CrystalBatch, properties: Tensor, rng: torch.Generator
    ) -> tuple[Tensor, LossTerms]:
        """The weighted total and its terms."""
        share, distorted = self.config.optimizer.perturb_probability, None
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


class Run:
    """The state of a training run: network, average, optimizer, random numbers, files."""

    def __init__(
        self, config: TrainConfig, data: CrystalDataset, folder: Path, init: Path | None
    ) -> None:
        self.config = config
        self.folder = folder
        self.place = Place.join()
        settings = config.optimizer
        torch.manual_seed(settings.seed)
        self.model = CDVAE(config.model).to(self.place.device)
        if init is not None and not self.state.exists():
            take_weights(self.model, init)
        self.model.heads.fit_scalers(data.crystals, data.properties)
        self.average = AveragedModel(
            self.model, multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay)
        )
        self.optimizer = torch.optim.AdamW(
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
            restore_optimizer(self.optimizer, groups["optimizer"])
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
            "optimizer": optimizer_tensors(self.optimizer),
        }
        save_state(self.state, groups, {"step": self.step, "name": self.config.name})
        self._saved = time.monotonic()

    def objective(self) -> nn.Module:
        """The loss for the present phase; fixes encoder and heads when their phase is over.

        They are fixed at their averaged weights, so that the latents that the decoder sees from
        then on are those of the finished model, and the prior can be fitted to them.
        """
        if self.step >= self.config.optimizer.freeze_encoder_after:
            average = self.average.module
            self.model.encoder.load_state_dict(average.encoder.state_dict())
            self.model.heads.load_state_dict(average.heads.state_dict())
            self.model.encoder.requires_grad_(False)
            self.model.heads.requires_grad_(False)
        objective = Objective(self.model, self.config)
        return DistributedDataParallel(objective) if self.place.peers > 1 else objective

    def update(self, total: Tensor) -> float:
        """One step of the optimizer on the loss ``total``; returns the norm of the gradient."""
        settings = self.config.optimizer
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, settings)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), settings.grad_clip_norm)
        if norm.isfinite():  # a step along a broken gradient could not be undone
            self.optimizer.step()
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
