"""The folder of a trained FTCP: ``weights.safetensors``, ``config.toml`` and ``card.json``."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from safetensors.torch import load, save

from baselines.ftcp.ftcp_config import METHOD, load_ftcp_config
from baselines.ftcp.ftcp_method import FTCPMethod
from baselines.ftcp.ftcp_training import train_network
from baselines.ftcp.network import FTCPNetwork
from cdvae.compute import available_threads
from cdvae.data.dataset import load_cache
from cdvae.errors import CdvaeError, DataError, ModelStoreError
from cdvae.model_folder import sha256

WEIGHTS, CONFIG, CARD = "weights.safetensors", "config.toml", "card.json"


def train_ftcp(path: Path, folder: Path, run: Path, out: Path, commit: str) -> None:
    """Train FTCP and write its folder.

    Args:
        path: the TOML settings.
        folder: the tensor caches; only ``train`` is read.
        run: folder of the state of the training, from which it resumes.
        out: the folder to write; its name is the version.
        commit: the commit for the card.

    Raises:
        DataError: settings or data cannot be read or do not fit each other.
    """
    config = load_ftcp_config(path)
    data = load_cache(folder / "train.safetensors")
    if list(data.property_names) != config.properties:
        raise DataError(
            f"{folder}: properties {', '.join(data.property_names)}, the configuration has"
            f" {', '.join(config.properties)}"
        )
    if not config.layout.fits(data.crystals).all():
        raise DataError(f"{folder}: some crystals exceed max_sites or max_elements")
    network = train_network(config, data, run, available_threads())
    out.mkdir(parents=True, exist_ok=True)
    (out / WEIGHTS).write_bytes(save({k: v.contiguous() for k, v in network.state_dict().items()}))
    (out / CONFIG).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    columns = dict(zip(data.property_names, data.metadata["property_columns"], strict=True))
    card = {
        "name": config.name,
        "version": out.name,
        "method": METHOD,
        "description": config.description,
        "dataset": config.dataset,
        "license": "MIT",
        "created_at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "commit": commit,
        "properties": {
            name: {
                "unit": config.units[name],
                "description": config.descriptions[name],
                "source": columns[name],
            }
            for name in config.properties
        },
        "data": {"train": len(data)},
        "quality": {},
        "weights_sha256": sha256(out / WEIGHTS),
        "files_sha256": {CONFIG: sha256(out / CONFIG)},
    }
    text = json.dumps(card, indent=2, ensure_ascii=False)
    (out / CARD).write_text(text + "\n", encoding="utf-8")


def load_ftcp(folder: Path) -> FTCPMethod:
    """Return the FTCP in ``folder`` after a check of its checksums.

    Raises:
        ModelStoreError: a file is missing, damaged or does not fit the others.
    """
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        expected = {WEIGHTS: card["weights_sha256"], **card["files_sha256"]}
        for name, digest in expected.items():
            actual = sha256(folder / name)
            if actual != digest:
                raise ModelStoreError(
                    f"{folder / name}: sha256 is {actual}, the card says {digest}"
                )
        config = load_ftcp_config(folder / CONFIG)
        network = FTCPNetwork(config.layout, len(config.properties), config.latent_dim)
        network.load_state_dict(load((folder / WEIGHTS).read_bytes()))
    except ModelStoreError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, CdvaeError) as error:
        raise ModelStoreError(f"{folder}: {type(error).__name__}: {error}") from error
    return FTCPMethod(config, card, network.eval().requires_grad_(False))
