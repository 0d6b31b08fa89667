"""Write a model folder from the results of a training run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cdvae.config import TrainConfig
from cdvae.data.dataset import CrystalDataset
from cdvae.geometry.elements import symbol
from cdvae.metrics.training_statistics import describe_training_data
from cdvae.model_folder import Reference, write_model
from cdvae.nn.autoencoder import CDVAE
from cdvae.nn.encoder import Posterior
from cdvae.nn.property_model import PropertyModel
from cdvae.prior.latent_prior import LatentPrior

START_CRYSTALS = 1024
"""Training crystals whose latents are shipped as starting points of optimization."""
START_SEED = 0
PERCENTILES = (5, 10, 15)


def export_model(
    folder: Path,
    config: TrainConfig,
    config_toml: str,
    network: CDVAE,
    prior: LatentPrior,
    property_model: PropertyModel,
    posterior: Posterior,
    data: CrystalDataset,
    facts: Mapping[str, Any],
    workers: int = 1,
) -> Path:
    """Write ``folder`` and return it.

    Args:
        folder: ``model_store/<name>/<version>``; its name is the version.
        config: the settings of the run.
        config_toml: the text of the settings, which is copied.
        network: the averaged autoencoder.
        prior: the prior over z.
        property_model: the averaged property model.
        posterior: of the training crystals, from :func:`cdvae.training.encode.encode_all`.
        data: the training crystals.
        facts: entries of the card: ``commit``, ``counts`` of crystals by split, ``columns``, the
            source column of each property, and ``property_model_mae``, the mean absolute error of
            the property model for each property on the validation split.
        workers: number of processes for the fingerprints.
    """
    statistics, known = describe_training_data(data, workers)
    rng = torch.Generator().manual_seed(START_SEED)
    usable = data.properties.isfinite().all(1).nonzero().squeeze(-1)
    chosen = usable[torch.randperm(len(usable), generator=rng)[:START_CRYSTALS]].sort().values
    reference = Reference(
        latents=posterior.z.mean.cpu()[chosen],
        values=data.properties[chosen],
        tensors=known,
        statistics=statistics,
    )
    card = {
        "name": config.name,
        "version": folder.name,
        "description": config.description,
        "dataset": config.dataset,
        "license": "MIT",
        "created_at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "commit": facts["commit"],
        "limits": {
            "max_num_samples": 10_000,
            "max_structures": 1_000,
            "min_atoms": int(data.crystals.num_atoms.min()),
            "max_atoms": int(data.crystals.num_atoms.max()),
            "elements": [symbol(z) for z in data.crystals.atomic_numbers.unique().tolist()],
        },
        "properties": {
            name: {
                "unit": config.units[name],
                "description": config.descriptions[name],
                "source": facts["columns"][name],
                "percentiles": _percentiles(data.properties[:, i]),
            }
            for i, name in enumerate(config.model.properties)
        },
        "samplers": {
            "ancestral": {"default_nfe": config.sampling.nfe, "max_nfe": 100},
            "langevin": {"default_nfe": 5000, "max_nfe": 5000, "multiple_of": 50},
        },
        "data": facts["counts"],
        "quality": {
            "property_model": {
                name: {"mae": facts["property_model_mae"][name], "split": "val", "unit": unit}
                for name, unit in config.units.items()
            }
        },
    }
    return write_model(folder, config_toml, network, prior, property_model, reference, card)


def _percentiles(values: Tensor) -> dict[str, float]:
    known = values[values.isfinite()].double()
    return {str(p): float(known.quantile(p / 100)) for p in PERCENTILES}
