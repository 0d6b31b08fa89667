"""Search for latents with a better property: gradient steps on z through the property head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from cdvae.trained import TrainedModel

Direction = Literal["minimize", "maximize", "target"]


def optimise(
    model: TrainedModel,
    latents: Tensor,
    *,
    prop: str,
    direction: Direction,
    value: float | None,
    steps: int,
    learning_rate: float,
    on_step: Callable[[int, int], None] | None = None,
) -> Tensor:
    """(B, D) latents after Adam on the predicted property (Xie et al. 2022, section 5.3).

    Every row moves on its own: the objective is a sum over rows, never their mean, and Adam works
    element by element. The weights stay as they are.

    Args:
        model: the trained model.
        latents: (B, D) starting points.
        prop: one of ``model.properties``.
        direction: lower, higher, or as near as possible to ``value`` (in the card's units).
        value: needed for "target" and for nothing else.
        steps: gradient steps.
        learning_rate: of Adam, in units of z.
        on_step: called with (steps done, steps in all); may raise to stop.

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
    z = latents.detach().clone().requires_grad_(True)
    adam = torch.optim.Adam([z], lr=learning_rate)
    for step in range(steps):
        predicted = heads.properties[column](z).squeeze(-1)
        if value is not None:
            goal = (value - heads.property_mean[column]) / heads.property_std[column]
            objective = (predicted - goal).square()
        else:
            objective = predicted if direction == "minimize" else -predicted
        adam.zero_grad(set_to_none=True)
        objective.sum().backward()
        adam.step()
        if on_step:
            on_step(step + 1, steps)
    return z.detach()
