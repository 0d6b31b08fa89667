"""Objectives of an optimization: which properties to minimize, maximize or bring to a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from cdvae.model_folder import TrainedModel

Direction = Literal["minimize", "maximize", "target"]


@dataclass(frozen=True)
class PropertyObjective:
    """The objective for one property; ``value``, in the card's units, is for "target" only."""

    prop: str
    direction: Direction
    value: float | None = None
    weight: float = 1.0  # relative to the other objectives


@dataclass(frozen=True)
class CombinedObjective:
    """The weighted sum of P objectives, in the standardized units of the property heads."""

    objectives: tuple[PropertyObjective, ...]
    heads: tuple[torch.nn.Module, ...]
    targets: tuple[float | None, ...]  # standardized
    mean: Tensor  # (P,) over the training data, card's units
    std: Tensor  # (P,)

    def cost(self, predicted: Tensor) -> Tensor:
        """Return the cost (B,) of the standardized properties ``predicted`` (B, P).

        The cost is the weighted sum of the values (of their negatives for "maximize") and, for
        targets, of the squared differences from the target.
        """
        parts = []
        for column, objective, target in zip(
            predicted.unbind(-1), self.objectives, self.targets, strict=True
        ):
            if target is not None:
                part = (column - target).square()
            else:
                part = column if objective.direction == "minimize" else -column
            parts.append(objective.weight * part)
        return torch.stack(parts).sum(0)

    def predict(self, z: Tensor) -> Tensor:
        """Return the standardized properties (B, P) that the heads predict for ``z`` (B, D)."""
        return torch.cat([head(z) for head in self.heads], -1)

    def in_card_units(self, predicted: Tensor) -> Tensor:
        """Return the standardized properties ``predicted`` (B, P) in the card's units."""
        return predicted * self.std + self.mean

    def standardize(self, properties: Mapping[str, Sequence[float]]) -> Tensor:
        """Return the standardized values (B, P) of ``properties`` in the card's units, by name."""
        rows = [list(properties[objective.prop]) for objective in self.objectives]
        return (self.mean.new_tensor(rows).T - self.mean) / self.std


def combine_objectives(
    model: TrainedModel, objectives: Sequence[PropertyObjective]
) -> CombinedObjective:
    """Return the weighted sum of ``objectives``.

    Raises:
        ValueError: there is no objective, a property or direction is unknown, a property occurs
            twice, a weight is not positive, or a value does not match the direction.
    """
    if not objectives:
        raise ValueError("no objective")
    names = [objective.prop for objective in objectives]
    for objective in objectives:
        prop, direction, value = objective.prop, objective.direction, objective.value
        if prop not in model.properties:
            raise ValueError(
                f"unknown property {prop!r}; the model predicts {', '.join(model.properties)}"
            )
        if names.count(prop) > 1:
            raise ValueError(f"property {prop!r} has several objectives")
        if direction not in ("minimize", "maximize", "target"):
            raise ValueError(
                f"unknown direction {direction!r}; choose minimize, maximize or target"
            )
        if (direction == "target") != (value is not None):
            raise ValueError(
                f"direction 'target' needs a value, the others take none; got direction"
                f" {direction!r} with value {value}"
            )
        if not objective.weight > 0:
            raise ValueError(f"the weight of {prop!r} is {objective.weight}; it must be positive")
    columns = [model.properties.index(name) for name in names]
    heads = model.network.heads
    mean, std = heads.property_mean[columns], heads.property_std[columns]
    targets = [
        None if objective.value is None else (objective.value - float(m)) / float(s)
        for objective, m, s in zip(objectives, mean, std, strict=True)
    ]
    chosen = tuple(heads.properties[column] for column in columns)
    return CombinedObjective(tuple(objectives), chosen, tuple(targets), mean, std)
