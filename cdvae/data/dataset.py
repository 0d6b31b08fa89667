"""A data set in memory, read from a tensor cache. It needs torch and safetensors only."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from cdvae.errors import DataError
from cdvae.geometry.crystal import CrystalBatch


@dataclass(frozen=True)
class CrystalDataset:
    """N crystals with P properties."""

    crystals: CrystalBatch  # all N crystals
    properties: Tensor  # (N, P) float32, NaN where unknown
    property_names: tuple[str, ...]  # P
    material_ids: tuple[str, ...]  # N
    metadata: Mapping[str, Any]  # origin of the file: source, source_sha256, elements, …

    def __len__(self) -> int:
        return len(self.material_ids)

    def select(self, indices: Tensor | Sequence[int]) -> "CrystalDataset":
        """Return the crystals at `indices`, in that order; IndexError outside the range."""
        chosen = torch.as_tensor(indices, dtype=torch.long)
        return replace(
            self,
            crystals=self.crystals.select(chosen),
            properties=self.properties[chosen],
            material_ids=tuple(self.material_ids[i] for i in chosen.tolist()),
        )


def load_cache(path: Path) -> CrystalDataset:
    """Return the data set in a cache file; DataError if the file is missing or damaged."""
    if not path.is_file():
        raise DataError(f"{path}: no such tensor cache; make it with `cdvae data prepare`")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {})["cdvae"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata["format"] != 1:
            raise DataError(f"{path}: tensor cache of format {metadata['format']}, expected 1")
        return CrystalDataset(
            crystals=CrystalBatch(
                frac_coords=tensors["frac_coords"],
                atomic_numbers=tensors["atomic_numbers"].long(),
                lattice=tensors["lattice"],
                num_atoms=tensors["num_atoms"].long(),
            ),
            properties=tensors["properties"],
            property_names=tuple(metadata["property_names"]),
            material_ids=tuple(metadata["material_ids"]),
            metadata=metadata,
        )
    except (SafetensorError, KeyError, ValueError) as error:
        raise DataError(f"{path}: not a tensor cache: {error!r}") from error
