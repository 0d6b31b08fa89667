"""Numbers derived from the training data, which are shipped with a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from cdvae.data.dataset import CrystalDataset
from cdvae.data.process_map import Progress
from cdvae.data.structures import to_structures
from cdvae.metrics.novelty import NoveltyIndex

QUANTILES = np.linspace(0, 1, 101)


def describe_training_data(
    data: CrystalDataset, workers: int = 1, progress: Progress | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the contents of ``reference.json`` and the index of known crystals.

    They are 101 quantiles of the densities (g/cm³) and of the properties (in their units), the
    share of crystals by number of elements, and the fingerprints of :mod:`cdvae.metrics.novelty`.
    """
    structures = to_structures(data.crystals)
    elements = [len(structure.composition) for structure in structures]
    density = np.array([float(structure.density) for structure in structures])
    values = data.properties.numpy()
    statistics = {
        "density_quantiles": np.quantile(density, QUANTILES).tolist(),
        "num_elements_histogram": {
            str(n): elements.count(n) / len(elements) for n in sorted(set(elements))
        },
        "property_quantiles": {
            name: np.nanquantile(values[:, i], QUANTILES).tolist()
            for i, name in enumerate(data.property_names)
        },
    }
    index = NoveltyIndex.from_structures(structures, workers, progress)
    return statistics, {k: torch.from_numpy(v) for k, v in index.to_arrays().items()}
