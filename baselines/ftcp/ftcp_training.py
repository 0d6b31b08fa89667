"""Training of FTCP with the original's loss and optimizer; resumable."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau
from tqdm import tqdm

from baselines.ftcp.ftcp_config import FTCPConfig
from baselines.ftcp.network import FTCPNetwork
from baselines.ftcp.representation import represent
from cdvae.data.dataset import CrystalDataset
from cdvae.errors import DataError
from cdvae.training.trainer import CHECKPOINT_SECONDS, Trainer, append_row

KL_WEIGHT, PROPERTY_WEIGHT = 2.0, 10.0
LEARNING_RATES = ((0.0, 5e-4), (0.25, 1e-4), (0.5, 5e-5))
"""Share of the epochs from which each rate applies: epochs 0, 50 and 100 of 200."""


def loss(network: FTCPNetwork, scaled: Tensor, targets: Tensor, noise: Tensor) -> Tensor:
    """Return the loss of a batch.

    Errors of matrices and properties are summed over the batch, but the KL term is a mean over
    dimensions and crystals, so reconstruction outweighs it by orders of magnitude. The original
    does the same.

    Args:
        network: the network.
        scaled: (B, C, R) matrices.
        targets: (B, P) scaled properties; NaN is ignored.
        noise: (B, D) standard normal.
    """
    mean, logvar = network.encode(scaled)
    latents = mean + (0.5 * logvar).exp() * noise
    matrix = (scaled - network.decode(latents)).square().sum()
    kl = -0.5 * (1 + logvar - mean.square() - logvar.exp()).mean()
    difference = targets - network.predict(mean)
    # The mask comes before the square: nansum would leave NaN in the gradient.
    error = torch.where(targets.isnan(), 0.0, difference).square().sum()
    return matrix + KL_WEIGHT * kl + PROPERTY_WEIGHT * error


class FTCPRun:
    """The training of FTCP: its network, its optimizer and its learning rates."""

    def __init__(self, config: FTCPConfig, folder: Path, checkpoint_seconds: float) -> None:
        self.config = config
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            self.network = FTCPNetwork(config.layout, len(config.properties), config.latent_dim)
        # Smoothing, eps and patience are those of Keras; torch counts the patience one step later.
        optimizer = torch.optim.RMSprop(
            self.network.parameters(), LEARNING_RATES[0][1], alpha=0.9, eps=1e-7
        )
        self.plateau = ReduceLROnPlateau(
            optimizer, factor=0.3, patience=3, threshold_mode="abs", min_lr=1e-6
        )
        self.trainer = Trainer(
            self.network,
            optimizer,
            folder / "state.safetensors",
            seed=config.seed,
            checkpoint_seconds=checkpoint_seconds,
        )
        meta = self.trainer.meta
        self.epoch_loss: float = meta.get("epoch_loss", 0.0)  # sum over the steps of this epoch
        if self.trainer.step:
            self.plateau.load_state_dict(meta["plateau"])
            self.learning_rate = meta["learning_rate"]

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        rate: float = self.trainer.optimizer.param_groups[0]["lr"]
        return rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self.trainer.optimizer.param_groups[0]["lr"] = value

    def start_epoch(self, epoch: int) -> None:
        """Start an epoch; at some epochs the original changes the learning rate."""
        starts = {round(share * self.config.epochs): rate for share, rate in LEARNING_RATES}
        self.epoch_loss = 0.0
        self.learning_rate = starts.get(epoch, self.learning_rate)

    def update(self, scaled: Tensor, targets: Tensor) -> None:
        """Take one step.

        Raises:
            DataError: the loss is not finite.
        """
        step = self.trainer.step
        rng = torch.Generator().manual_seed(self.config.seed * 1_000_003 + step)
        noise = torch.randn(len(scaled), self.config.latent_dim, generator=rng)
        total = loss(self.network, scaled, targets, noise)
        value = float(total.detach())
        if not math.isfinite(value):
            raise DataError(f"step {step + 1}: the loss is {value}, the training diverged")
        self.trainer.update(total)
        self.epoch_loss += value

    def save(self, *, now: bool) -> None:
        """Write the state if it is due or ``now``."""
        self.trainer.meta |= {
            "epoch_loss": self.epoch_loss,
            "learning_rate": self.learning_rate,
            "plateau": self.plateau.state_dict(),
        }
        self.trainer.save(now=now)


def train_network(
    config: FTCPConfig,
    data: CrystalDataset,
    folder: Path,
    workers: int = 1,
    *,
    on_step: Callable[[int], None] | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> FTCPNetwork:
    """Return the network after ``config.epochs`` epochs over ``data``.

    Args:
        config: the settings of the run.
        data: training crystals.
        folder: holds ``state.safetensors``, from which an interrupted run resumes, and the curve
            ``train.csv``.
        workers: number of processes for the representation.
        on_step: called with the number of steps done; may raise to stop.
        checkpoint_seconds: time between two checkpoints.

    Raises:
        DataError: the loss is not finite, or the state does not fit the configuration.
    """
    run = FTCPRun(config, folder, checkpoint_seconds)
    network, trainer = run.network, run.trainer
    matrices = represent(data.crystals, config.layout, workers)
    if trainer.step == 0:
        network.fit_scales(matrices, data.properties)
    matrices.sub_(network.row_min).div_(network.row_range)  # in place, to save memory
    targets = network.scale_properties(data.properties)
    per_epoch = -(-len(data) // config.batch_size)
    steps = per_epoch * config.epochs
    network.train()
    with tqdm(initial=trainer.step, total=steps, unit="step", mininterval=1) as bar:
        while trainer.step < steps:
            epoch, within = divmod(trainer.step, per_epoch)
            if within == 0:
                run.start_epoch(epoch)
            rng = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
            order = torch.randperm(len(data), generator=rng)
            for number, rows in enumerate(order.split(config.batch_size)[within:], within + 1):
                run.update(matrices[rows], targets[rows])
                bar.update()
                if number == per_epoch:
                    row = {
                        "epoch": epoch + 1,
                        "loss": run.epoch_loss / len(data),
                        "learning_rate": run.learning_rate,
                    }
                    append_row(folder / "train.csv", row)
                    run.plateau.step(run.epoch_loss / per_epoch)
                run.save(now=trainer.step == steps)
                if on_step:
                    on_step(trainer.step)
    return network.eval().requires_grad_(False)
