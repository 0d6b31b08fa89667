"""Files with the state of a training run: safetensors with JSON metadata, replaced atomically."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cdvae.errors import DataError


def save_state(
    path: Path, groups: Mapping[str, Mapping[str, Tensor]], meta: dict[str, Any]
) -> None:
    """Write groups of named tensors and ``meta``; an interruption leaves the old file intact."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"{group}/{name}": tensor.detach().cpu().contiguous().clone()
        for group, members in groups.items()
        for name, tensor in members.items()
    }
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata={"meta": json.dumps(meta)})
    os.replace(partial, path)


def load_state(path: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Return the groups and ``meta`` of a file written by :func:`save_state`.

    Raises:
        DataError: the file is not a training state.
    """
    groups: dict[str, dict[str, Tensor]] = {}
    try:
        with safe_open(path, framework="pt") as file:
            meta = json.loads((file.metadata() or {})["meta"])
            for key in file.keys():  # noqa: SIM118 (not a mapping)
                group, name = key.split("/", 1)
                groups.setdefault(group, {})[name] = file.get_tensor(key)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise DataError(f"{path}: not a training state ({error})") from error
    return groups, meta


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the state of the optimizer (moments, step counts) by parameter number and name."""
    state = optimizer.state_dict()["state"]
    return {
        f"{number}/{name}": value
        for number, entry in state.items()
        for name, value in entry.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Load the ``tensors`` that :func:`optimizer_tensors` returned."""
    entries: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, name = key.split("/")
        entries.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict(
        {"state": entries, "param_groups": optimizer.state_dict()["param_groups"]}
    )
