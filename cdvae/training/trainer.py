"""The state of a training run and its file: network, average, optimizer and step.

A resumed run ends with the same weights as an uninterrupted one: the learning rate, the batches and
every random number depend only on the seed and the step, and the file holds everything else.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from cdvae.errors import DataError
from cdvae.training.checkpoint import (
    load_state,
    optimizer_tensors,
    restore_optimizer,
    save_state,
)

CHECKPOINT_SECONDS = 120.0
"""Time between two checkpoints."""

Schedule = Callable[[int], Mapping[str, Any]]
"""Return the settings of the optimizer's parameter groups (``lr``, ``betas``) for a step."""


class Trainer:
    """Updates a network step by step and writes checkpoints to resume from."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        path: Path | None,
        *,
        seed: int,
        schedule: Schedule | None = None,
        ema_decay: float | None = None,
        max_norm: float | None = None,
        rank: int = 0,
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
    ) -> None:
        """Resume from ``path`` if the file exists.

        Args:
            model: the network to train, on its device.
            optimizer: of the parameters of ``model``.
            path: the file of the state; None: no checkpoints.
            seed: of the random numbers of every step.
            schedule: settings of the optimizer for each step; None: constant.
            ema_decay: of the exponential moving average of the weights; None: no average.
            max_norm: largest norm of the gradient, which is clipped; None: no clipping.
            rank: number of this process; every process has different random numbers.
            checkpoint_seconds: time between two checkpoints.

        Raises:
            DataError: the file is not a training state, or the state of another network.
        """
        self.model, self.optimizer = model, optimizer
        self.average: AveragedModel | None = None
        if ema_decay is not None:
            self.average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(ema_decay))
        self.step = 0
        self.meta: dict[str, Any] = {}
        """Further values to keep in the file, as JSON."""
        self._path, self._seed, self._rank = path, seed, rank
        self._schedule, self._max_norm = schedule, max_norm
        self._checkpoint_seconds = checkpoint_seconds
        self._rng = torch.Generator(next(model.parameters()).device)
        if path is not None and path.exists():
            self._resume(path)
        self._saved = time.monotonic()

    @property
    def result(self) -> nn.Module:
        """The averaged network, or the network itself if there is no average."""
        if self.average is None:
            return self.model
        averaged: nn.Module = self.average.module
        return averaged

    @property
    def step_seed(self) -> int:
        """The seed of the random numbers of the present step."""
        return (self._seed * 7919 + self._rank) * 1_000_003 + self.step

    def generator(self) -> torch.Generator:
        """Return the source of the random numbers of the present step."""
        return self._rng.manual_seed(self.step_seed)

    def update(self, loss: Tensor) -> float | None:
        """Take one step on ``loss``; return the norm of the gradient, if it is clipped.

        A step with an infinite or undefined gradient changes no weight.
        """
        if self._schedule is not None:
            settings = self._schedule(self.step)
            for group in self.optimizer.param_groups:
                group.update(settings)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = None
        if self._max_norm is not None:
            norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), self._max_norm))
        if norm is None or math.isfinite(norm):
            self.optimizer.step()
            if self.average is not None:
                self.average.update_parameters(self.model)
        self.step += 1
        return norm

    def save(self, *, now: bool) -> None:
        """Write the state if it is due or ``now``."""
        if self._path is None:
            return
        if not now and time.monotonic() - self._saved < self._checkpoint_seconds:
            return
        groups: dict[str, Mapping[str, Tensor]] = {
            "model": self.model.state_dict(),
            "optimizer": optimizer_tensors(self.optimizer),
        }
        if self.average is not None:
            groups["average"] = self.average.state_dict()
        save_state(self._path, groups, {**self.meta, "step": self.step})
        self._saved = time.monotonic()

    def _resume(self, path: Path) -> None:
        groups, self.meta = load_state(path)
        try:
            self.model.load_state_dict(groups["model"])
            if self.average is not None:
                self.average.load_state_dict(groups["average"])
            restore_optimizer(self.optimizer, groups["optimizer"])
            self.step = self.meta.pop("step")
        except (KeyError, RuntimeError, ValueError) as error:
            raise DataError(f"{path}: the state does not fit this run ({error})") from error


def averaged_weights(groups: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the averaged weights in the groups of a state file, by the names of the network."""
    prefix = "module."
    return {
        name.removeprefix(prefix): value
        for name, value in groups["average"].items()
        if name.startswith(prefix)
    }


def ema_decay(steps: int) -> float:
    """Return the decay of an average over a tenth of the run, at most over a thousand steps."""
    return min(0.999, max(0.0, 1 - 10 / steps))


def append_row(path: Path, row: Mapping[str, float | None]) -> None:
    """Append ``row`` to the CSV file of a curve; write the header first if the file is new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row))
        if fresh:
            writer.writeheader()
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
