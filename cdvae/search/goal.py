"""Which property shall go where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from cdvae.trained import TrainedModel

Direction = Literal["minimize", "maximize", "target"]


@dataclass(frozen=True)
class Goal:
    """Which property shall go where, in the standardised units of its head."""

    head: torch.nn.Module
    direction: Direction
    value: float | None
    mean: float  # of the property in the training data, card's units
    std: float

    def badness(self, predicted: Tensor) -> Tensor:
        """What shall become small, element by element."""
        if self.value is not None:
            return (predicted - self.value).square()
        return predicted if self.direction == "minimize" else -predicted

    def read(self, z: Tensor) -> Tensor:
        """(B,) the standardised property of ``z`` (B, D)."""
        return self.head(z).squeeze(-1)

    def in_units(self, predicted: Tensor) -> Tensor:
        """What `read` gave, in the card's units."""
        return predicted * self.std + self.mean


def goal_of(model: TrainedModel, prop: str, direction: Direction, value: float | None) -> Goal:
    """The goal for ``prop``; ``value`` in the card's units.

    Raises:
        ValueError: the property or the direction is unknown, or ``value`` does not go with it.
    """
    if prop not in model.properties:
        raise ValueError(f"no property {prop!r}; the model has {', '.join(model.properties)}")
    if direction not in ("minimize", "maximize", "target"):
        raise ValueError(f"no direction {direction!r}; there are minimize, maximize and target")
    if (direction == "target") != (value is not None):
        raise ValueError(f"a value goes with direction target only; got {direction} and {value}")
    column = model.properties.index(prop)
    heads = model.network.heads
    mean, std = float(heads.property_mean[column]), float(heads.property_std[column])
    if value is not None:
        value = (value - mean) / std
    return Goal(heads.properties[column], direction, value, mean, std)
