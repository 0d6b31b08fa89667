"""A whole training run. ``python -m cdvae.training.train`` needs torch and torch-geometric alone.

That form trains one part, for machines without pymatgen and (the autoencoder) for ``torchrun``;
``cdvae train`` then picks the run up where it is and writes the model folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tqdm import tqdm

from cdvae.compute import available_threads, configure
from cdvae.config import TrainConfig, load_config
from cdvae.data.dataset import CrystalDataset, load_cache
from cdvae.errors import DataError
from cdvae.geometry.crystal import element_counts
from cdvae.nn.autoencoder import CDVAE
from cdvae.nn.encoder import Posterior
from cdvae.nn.property_model import PropertyModel
from cdvae.prior.latent_prior import LatentPrior
from cdvae.training.encode import encode_all
from cdvae.training.loop import train
from cdvae.training.prior_training import fit_prior
from cdvae.training.property_training import fit_property_model
from cdvae.training.training_run import load_network


def load_split(folder: Path, split: str, config: TrainConfig) -> CrystalDataset:
    """The tensor cache of one split; DataError if its properties are not the configured ones."""
    data = load_cache(folder / f"{split}.safetensors")
    if data.property_names != config.model.properties:
        raise DataError(
            f"{folder / split}: properties {', '.join(data.property_names)}, the configuration has"
            f" {', '.join(config.model.properties)}"
        )
    return data


def train_network(config: TrainConfig, folder: Path, run: Path, init: Path | None = None) -> CDVAE:
    """The averaged autoencoder, trained from the caches in ``folder`` or resumed from ``run``.

    A fresh run begins with the weights of the model folder ``init``, if there is one.
    """
    train_, val = (load_split(folder, split, config) for split in ("train", "val"))
    return train(config, train_, val, run, init)


def train_prior(config: TrainConfig, folder: Path, run: Path) -> tuple[LatentPrior, Posterior]:
    """Return the prior, and the posterior of the training crystals that it was fitted to.

    The prior can be fitted as soon as the encoder is frozen, while the decoder is still in
    training. ``prior.safetensors`` in ``run`` keeps its state; a finished one is read.

    Raises:
        DataError: the encoder of ``run`` is still in training.
    """
    network, step = load_network(config, run)
    if step < config.optimizer.freeze_encoder_after:
        raise DataError(
            f"{run}: the encoder is in training until {config.optimizer.freeze_encoder_after}"
        )
    data = load_split(folder, "train", config)
    posterior = encode_all(network, data)
    with tqdm(total=config.prior.steps, unit="step", desc="prior", mininterval=1) as bar:

        def on_step(step: int, losses: dict[str, float]) -> None:
            bar.update(step - bar.n)
            if step % 100 == 0:
                bar.set_postfix({name: f"{loss:.4f}" for name, loss in losses.items()})

        prior = fit_prior(
            posterior.z.mean,
            element_counts(data.crystals),
            config.model.max_atoms,
            config.prior,
            on_step,
            run / "prior.safetensors",
        )
    return prior, posterior


def train_property_model(
    config: TrainConfig, folder: Path, run: Path
) -> tuple[PropertyModel, dict[str, float]]:
    """The averaged property model and its errors on ``val``; trained, resumed or read from ``run``.

    It needs nothing of the autoencoder: its state may lie in any folder and be trained at any time.
    """
    train_, val = (load_split(folder, split, config) for split in ("train", "val"))
    with tqdm(
        total=config.property_model.steps, unit="step", desc="property_model", mininterval=1
    ) as bar:

        def on_step(step: int, loss: float) -> None:
            bar.update(step - bar.n)
            if step % 100 == 0:
                bar.set_postfix(loss=f"{loss:.4f}")

        return fit_property_model(config, train_, val, run, on_step)


def train_and_export(
    path: Path, folder: Path, run: Path, out: Path, commit: str, init: Path | None = None
) -> None:
    """Trains autoencoder, prior and property model and writes the model folder ``out``.

    Args:
        path: the TOML settings.
        folder: tensor caches ``train``, ``val`` and, for its count only, ``test``.
        run: where the state of the training is kept.
        out: ``…/<name>/<version>``.
        commit: noted in the card.
        init: model folder whose weights a fresh run begins with.
    """
    from cdvae.training.export import export_model  # needs pymatgen

    config = load_config(path)
    network = train_network(config, folder, run, init)
    prior, posterior = train_prior(config, folder, run)
    property_model, errors = train_property_model(config, folder, run)
    data = load_split(folder, "train", config)
    counts = {
        split: len(load_cache(folder / f"{split}.safetensors"))
        for split in ("train", "val", "test")
        if (folder / f"{split}.safetensors").exists()
    }
    columns = dict(
        zip(data.metadata["property_names"], data.metadata["property_columns"], strict=True)
    )
    facts = {"commit": commit, "counts": counts, "columns": columns, "property_model_mae": errors}
    text = path.read_text(encoding="utf-8")
    workers = available_threads()
    export_model(out, config, text, network, prior, property_model, posterior, data, facts, workers)


PARTS = {"prior": train_prior, "property_model": train_property_model}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train from tensor caches.")
    parser.add_argument("config", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder of the tensor caches")
    # Not "--run": torchrun would take it for the beginning of an option of its own.
    parser.add_argument("--state", type=Path, required=True, help="folder of the run's state")
    parser.add_argument("--part", choices=["network", *PARTS], default="network")
    parser.add_argument("--init", type=Path, help="model folder whose weights are the start")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    configure(arguments.threads)
    settings = load_config(arguments.config)
    if arguments.part == "network":
        train_network(settings, arguments.data, arguments.state, arguments.init)
    else:
        PARTS[arguments.part](settings, arguments.data, arguments.state)
