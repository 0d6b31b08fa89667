"""A whole training run. ``python -m cdvae.training.main`` needs torch and torch-geometric alone.

That form trains the autoencoder only, for machines without pymatgen and for ``torchrun``; ``cdvae
train`` then picks the run up where it is, fits the prior and writes the model folder.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from tqdm import tqdm

from cdvae.compute import configure
from cdvae.data.dataset import CrystalDataset, load_cache
from cdvae.errors import DataError
from cdvae.model.cdvae import CDVAE
from cdvae.training.config import TrainConfig, load_config
from cdvae.training.loop import train


def load_split(folder: Path, split: str, config: TrainConfig) -> CrystalDataset:
    """The tensor cache of one split; DataError if its properties are not the configured ones."""
    data = load_cache(folder / f"{split}.safetensors")
    if data.property_names != config.model.properties:
        raise DataError(
            f"{folder / split}: properties {', '.join(data.property_names)}, the configuration has"
            f" {', '.join(config.model.properties)}"
        )
    return data


def train_network(config: TrainConfig, folder: Path, run: Path) -> CDVAE:
    """The averaged autoencoder, trained from the caches in ``folder`` or resumed from ``run``."""
    return train(
        config, load_split(folder, "train", config), load_split(folder, "val", config), run
    )


def train_and_export(path: Path, folder: Path, run: Path, out: Path, commit: str) -> None:
    """Trains autoencoder and prior and writes the model folder ``out``.

    Args:
        path: the TOML settings.
        folder: tensor caches ``train``, ``val`` and, for its count only, ``test``.
        run: where the state of the training is kept.
        out: ``…/<name>/<version>``.
        commit: noted in the card.
    """
    from cdvae.training.export import encode_all, export_model
    from cdvae.training.prior import fit_prior

    config = load_config(path)
    network = train_network(config, folder, run)
    data = load_split(folder, "train", config)
    posterior = encode_all(network, data)
    with tqdm(total=config.prior.steps, unit="step", desc="prior") as bar:

        def on_step(step: int, loss: float) -> None:
            bar.update()
            if step % 100 == 0:
                bar.set_postfix(loss=f"{loss:.4f}")

        prior = fit_prior(posterior, config.prior, on_step)
    counts = {
        split: len(load_cache(folder / f"{split}.safetensors"))
        for split in ("train", "val", "test")
        if (folder / f"{split}.safetensors").exists()
    }
    columns = dict(
        zip(data.metadata["property_names"], data.metadata["property_columns"], strict=True)
    )
    facts = {"commit": commit, "counts": counts, "columns": columns}
    text = path.read_text(encoding="utf-8")
    workers = os.cpu_count() or 1
    export_model(out, config, text, network, prior, posterior, data, facts, workers)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train the autoencoder from tensor caches.")
    parser.add_argument("config", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder of the tensor caches")
    parser.add_argument("--run", type=Path, required=True, help="folder of the run")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    configure(arguments.threads)
    train_network(load_config(arguments.config), arguments.data, arguments.run)
