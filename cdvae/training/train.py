"""A whole training run. ``python -m cdvae.training.train`` needs only torch and torch-geometric.

That command trains one part, for machines without pymatgen and (the autoencoder) for ``torchrun``;
``cdvae train`` resumes the run and writes the model folder.
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
    """Return the data of a split; DataError if it has other properties than the configuration."""
    data = load_cache(folder / f"{split}.safetensors")
    if data.property_names != config.model.properties:
        raise DataError(
            f"{folder / split}: properties {', '.join(data.property_names)}, the configuration has"
            f" {', '.join(config.model.properties)}"
        )
    return data


def train_network(config: TrainConfig, folder: Path, run: Path, init: Path | None = None) -> CDVAE:
    """Return the averaged autoencoder, trained on ``folder``; resume the state in ``run``.

    A new run starts with the weights of the model folder ``init``; None: with random weights.
    """
    train_, val = (load_split(folder, split, config) for split in ("train", "val"))
    return train(config, train_, val, run, init)


def train_prior(config: TrainConfig, folder: Path, run: Path) -> tuple[LatentPrior, Posterior]:
    """Return the prior, and the posterior of the training crystals to which it is fitted.

    The prior can be fitted as soon as the encoder is frozen, while the decoder is still in
    training. ``prior.safetensors`` in ``run`` holds its state, finished or not.

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
    """Return the averaged property model and its errors on ``val``; resume the state in ``run``.

    It does not depend on the autoencoder: it can be trained at any time and in any folder.
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
    """Train autoencoder, prior and property model and write the model folder ``out``.

    Args:
        path: the TOML settings.
        folder: tensor caches ``train``, ``val`` and (only counted) ``test``.
        run: folder of the state of the training.
        out: ``…/<name>/<version>``.
        commit: the commit for the card.
        init: model folder with the first weights of a new run; None: random weights.
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
    # torchrun would take "--run" for the beginning of one of its options.
    parser.add_argument("--state", type=Path, required=True, help="folder of the run's state")
    parser.add_argument("--part", choices=["network", *PARTS], default="network")
    parser.add_argument("--init", type=Path, help="model folder with the first weights")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    configure(arguments.threads)
    settings = load_config(arguments.config)
    if arguments.part == "network":
        train_network(settings, arguments.data, arguments.state, arguments.init)
    else:
        PARTS[arguments.part](settings, arguments.data, arguments.state)
