"""Training of FTCP with the original's loss and optimizer; resumable."""

from __future__ import annotations

import math
import time
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
from cdvae.training.checkpoint import load_state, optimizer_tensors, restore_optimizer, save_state

KL_WEIGHT, PROPERTY_WEIGHT = 2.0, 10.0
LEARNING_RATES = ((0.0, 5e-4), (0.25, 1e-4), (0.5, 5e-5))
"""From which share of the epochs on: epochs 0, 50 and 100 of the original's 200."""
CHECKPOINT_SECONDS = 120


def loss(network: FTCPNetwork, scaled: Tensor, targets: Tensor, noise: Tensor) -> Tensor:
    """The loss of a batch.

    Errors of matrices and properties are summed over the whole batch, the KL term is a mean over
    dimensions and crystals: reconstruction outweighs it by orders of magnitude, as in the original.

    Args:
        network: the network.
        scaled: (B, C, R) matrices.
        targets: (B, P) scaled properties; NaN is left out.
        noise: (B, D) standard normal.
    """
    mean, logvar = network.encode(scaled)
    latents = mean + (0.5 * logvar).exp() * noise
    matrix = (scaled - network.decode(latents)).square().sum()
    kl = -0.5 * (1 + logvar - mean.square() - logvar.exp()).mean()
    difference = targets - network.predict(mean)
    # Before it is squared: nansum of a square leaves a NaN out of the sum, not of its gradient.
    error = torch.where(targets.isnan(), 0.0, difference).square().sum()
    return matrix + KL_WEIGHT * kl + PROPERTY_WEIGHT * error


class Run:
    """The state of a training run: network, optimizer, schedule and their file."""

    def __init__(self, config: FTCPConfig, folder: Path) -> None:
        self.config = config
        self.folder = folder
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            self.network = FTCPNetwork(config.layout, len(config.properties), config.latent_dim)
        # Smoothing, eps and patience are those of Keras; torch counts the patience from one later.
        self.optimizer = torch.optim.RMSprop(
            self.network.parameters(), LEARNING_RATES[0][1], alpha=0.9, eps=1e-7
        )
        self.plateau = ReduceLROnPlateau(
            self.optimizer, factor=0.3, patience=3, threshold_mode="abs", min_lr=1e-6
        )
        self.step = 0
        self.total = 0.0  # loss of this epoch so far
        if self.state.exists():
            groups, meta = load_state(self.state)
            self.network.load_state_dict(groups["network"])
            restore_optimizer(self.optimizer, groups["optimizer"])
            self.plateau.load_state_dict(meta["plateau"])
            self.learning_rate = meta["learning_rate"]
            self.step, self.total = meta["step"], meta["total"]
        self._saved = time.monotonic()

    @property
    def state(self) -> Path:
        """The file that the run is resumed from."""
        return self.folder / "state.safetensors"

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return self.optimizer.param_groups[0]["lr"]

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self.optimizer.param_groups[0]["lr"] = value

    def save(self, *, now: bool) -> None:
        """Writes the state if two minutes have passed or ``now``."""
        if not now and time.monotonic() - self._saved < CHECKPOINT_SECONDS:
            return
        groups = {
            "network": self.network.state_dict(),
            "optimizer": optimizer_tensors(self.optimizer),
        }
        meta = {
            "step": self.step,
            "total": self.total,
            "learning_rate": self.learning_rate,
            "plateau": self.plateau.state_dict(),
        }
        save_state(self.state, groups, meta)
        self._saved = time.monotonic()

    def update(self, scaled: Tensor, targets: Tensor) -> None:
        """One step of the optimizer; DataError where the loss is no number.

        It is not stored then: the state on disk is of before.
        """
        rng = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.step)
        noise = torch.randn(len(scaled), self.config.latent_dim, generator=rng)
        total = loss(self.network, scaled, targets, noise)
        value = float(total.detach())
        if not math.isfinite(value):
            raise DataError(f"step {self.step + 1}: the loss is {value}, training broke")
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        self.optimizer.step()
        self.step += 1
        self.total += value


def train_network(
    config: FTCPConfig, data: CrystalDataset, folder: Path, workers: int = 1
) -> FTCPNetwork:
    """The network after ``config.epochs`` epochs over ``data``.

    ``folder`` holds ``state.safetensors``, written every two minutes and resumed from if it is
    there, and the curve ``train.csv``.

    Raises:
        DataError: the loss is no longer finite.
    """
    run = Run(config, folder)
    matrices = represent(data.crystals, config.layout, workers)
    if run.step == 0:
        run.network.fit_scales(matrices, data.properties)
    matrices.sub_(run.network.row_min).div_(run.network.row_range)  # in place: they are many
    targets = run.network.scale_properties(data.properties)
    starts = {round(share * config.epochs): rate for share, rate in LEARNING_RATES}
    per_epoch = -(-len(data) // config.batch_size)
    run.network.train()
    with tqdm(initial=run.step, total=per_epoch * config.epochs, unit="step", mininterval=1) as bar:
        while run.step < per_epoch * config.epochs:
            epoch, within = divmod(run.step, per_epoch)
            if within == 0:
                run.total = 0.0
                run.learning_rate = starts.get(epoch, run.learning_rate)
            rng = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
            order = torch.randperm(len(data), generator=rng)
            for rows in order.split(config.batch_size)[within:]:
                run.update(matrices[rows], targets[rows])
                bar.update()
                run.save(now=False)
            _log(folder / "train.csv", epoch + 1, run.total / len(data), run.learning_rate)
            run.plateau.step(run.total / per_epoch)
    run.save(now=True)
    return run.network.eval().requires_grad_(False)


def _log(path: Path, epoch: int, total: float, learning_rate: float) -> None:
    """Adds an epoch's mean loss of a crystal to the curve."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = "" if path.exists() else "epoch,loss,learning_rate\n"
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{head}{epoch},{total:.6g},{learning_rate:.6g}\n")
