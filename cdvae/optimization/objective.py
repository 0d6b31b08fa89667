"""Which properties shall go where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from cdvae.model_folder import TrainedModel

Direction = Literal["minimize", "maximize", "target"]


@dataclass(frozen=True)
class Objective:
    """Where one property shall go; ``value``, in the card's units, is for "target" alone."""

    prop: str
    direction: Direction
    value: float | None = None
    weight: float = 1.0  # against the other objectives


@dataclass(frozen=True)
class Goal:
    """P objectives at once, in the standardized units of the heads."""

    objectives: tuple[Objective, ...]
    heads: tuple[torch.nn.Module, ...]
    values: tuple[float | None, ...]  # to reach, standardized
    mean: Tensor  # (P,) of the properties in the training data, card's units
    std: Tensor  # (P,)

    def cost(self, predicted: Tensor) -> Tensor:
        """(B,) what shall become small, of ``predicted`` (B, P).

        The weighted sum of the standardized values (their negatives where more is better) and, for
        targets, of the squares of the differences from them.
        """
        parts = []
        for column, objective, value in zip(
            predicted.unbind(-1), self.objectives, self.values, strict=True
        ):
            if value is not None:
                part = (column - value).square()
            else:
                part = column if objective.direction == "minimize" else -column
            parts.append(objective.weight * part)
        return torch.stack(parts).sum(0)

    def read(self, z: Tensor) -> Tensor:
        """(B, P) the standardized properties of ``z`` (B, D)."""
        return torch.cat([head(z) for head in self.heads], -1)

    def in_units(self, predicted: Tensor) -> Tensor:
        """(B, P) what `read` gave, in the card's units."""
        return predicted * self.std + self.mean

    def standardized(self, properties: Mapping[str, Sequence[float]]) -> Tensor:
        """(B, P) of values in the card's units, by name."""
        rows = [list(properties[objective.prop]) for objective in self.objectives]
        return (self.mean.new_tensor(rows).T - self.mean) / self.std


def goal_of(model: TrainedModel, objectives: Sequence[Objective]) -> Goal:
    """The goal that these objectives make together.

    Raises:
        ValueError: there is none, a property or direction is unknown, a property comes twice, a
            weight is not positive, or a value does not go with the direction.
    """
    if not objectives:
        raise ValueError("no objective")
    names = [objective.prop for objective in objectives]
    for objective in objectives:
        prop, direction, value = objective.prop, objective.direction, objective.value
        if prop not in model.properties:
            raise ValueError(f"no property {prop!r}; the model has {', '.join(model.properties)}")
        if names.count(prop) > 1:
            raise ValueError(f"property {prop!r} has several objectives")
        if direction not in ("minimize", "maximize", "target"):
            raise ValueError(f"no direction {direction!r}; there are minimize, maximize and target")
        if (direction == "target") != (value is not None):
            raise ValueError(f"a value goes with direction target only; got {direction}, {value}")
        if not objective.weight > 0:
            raise ValueError(f"the weight of {prop!r} is {objective.weight}, not positive")
    columns = [model.properties.index(name) for name in names]
    heads = model.network.heads
    mean, std = heads.property_mean[columns], heads.property_std[columns]
    standardized = [
        None if objective.value is None else (objective.value - float(m)) / float(s)
        for objective, m, s in zip(objectives, mean, std, strict=True)
    ]
    chosen = tuple(heads.properties[column] for column in columns)
    return Goal(tuple(objectives), chosen, tuple(standardized), mean, std)
