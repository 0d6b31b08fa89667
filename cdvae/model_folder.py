"""Read and write the folder of a trained model.

It holds ``weights.safetensors`` (network, prior and property model), ``config.toml``,
``card.json``, and numbers derived from the training data in ``reference.safetensors`` and
``reference.json``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from cdvae.config import TrainConfig, build_prior, load_config
from cdvae.errors import CdvaeError, ModelStoreError
from cdvae.nn.autoencoder import CDVAE
from cdvae.nn.property_model import PropertyModel
from cdvae.prior.latent_prior import LatentPrior

CHECKED_FILES = ("config.toml", "reference.safetensors", "reference.json")


@dataclass(frozen=True)
class Reference:
    """Numbers derived from the training data; they are shipped in place of the data."""

    latents: Tensor  # (R, D) posterior means to start optimization from
    values: Tensor  # (R, P) their properties in the data, card's units
    tensors: Mapping[str, Tensor]  # the rest of reference.safetensors: the index of known crystals
    statistics: Mapping[str, Any]  # reference.json: quantiles and histograms


@dataclass(frozen=True)
class TrainedModel:
    """A model with all its parts, on one device."""

    config: TrainConfig
    card: Mapping[str, Any]
    network: CDVAE
    prior: LatentPrior
    property_model: PropertyModel
    reference: Reference
    device: torch.device

    @property
    def name(self) -> str:
        """The name in the card."""
        return str(self.card["name"])

    @property
    def version(self) -> str:
        """The version in the card."""
        return str(self.card["version"])

    @property
    def weights_sha256(self) -> str:
        """The checksum that identifies the weights."""
        return str(self.card["weights_sha256"])

    @property
    def properties(self) -> tuple[str, ...]:
        """The properties that heads and property model predict, in their order."""
        return self.config.model.properties


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load_model(folder: Path, device: str = "cpu") -> TrainedModel:
    """Return the model in ``folder``, on ``device``, after a check of its checksums.

    Raises:
        ModelStoreError: a file is missing, damaged or does not fit the others.
    """
    try:
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        expected = {"weights.safetensors": card["weights_sha256"], **card["files_sha256"]}
        contents = {name: (folder / name).read_bytes() for name in expected}
    except (OSError, ValueError, KeyError) as error:
        raise ModelStoreError(f"{folder}: {type(error).__name__}: {error}") from error
    for name, digest in expected.items():
        actual = hashlib.sha256(contents[name]).hexdigest()
        if actual != digest:
            raise ModelStoreError(f"{folder / name}: sha256 is {actual}, the card says {digest}")
    try:
        config = load_config(folder / "config.toml")
        weights = load(contents["weights.safetensors"])
        network = CDVAE(config.model)
        network.load_state_dict(_group(weights, "network"))
        prior = build_prior(config)
        prior.load_state_dict(_group(weights, "prior"))
        property_model = PropertyModel(config.property_model.backbone, len(config.model.properties))
        property_model.load_state_dict(_group(weights, "property_model"))
        arrays = load(contents["reference.safetensors"])
        reference = Reference(
            latents=arrays.pop("latents").to(device),
            values=arrays.pop("values"),
            tensors=arrays,
            statistics=json.loads(contents["reference.json"]),
        )
    except (CdvaeError, RuntimeError, ValueError, KeyError) as error:
        raise ModelStoreError(f"{folder}: {error}") from error
    for module in (network, prior, property_model):
        module.to(device).eval().requires_grad_(False)
    return TrainedModel(
        config, card, network, prior, property_model, reference, torch.device(device)
    )


def _group(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {k.split("/", 1)[1]: v for k, v in tensors.items() if k.startswith(f"{name}/")}


def write_model(
    folder: Path,
    config_toml: str,
    network: CDVAE,
    prior: LatentPrior,
    property_model: PropertyModel,
    reference: Reference,
    card: Mapping[str, Any],
) -> Path:
    """Write a model folder and return it; the checksums are added to ``card``.

    The networks of the prior are stored in half precision: they are the largest part, and rounding
    moves a drawn latent by far less than the spread of the latents. The buffers of the prior keep
    full precision, because rounded axes would not be orthogonal.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {f"network/{k}": v for k, v in network.state_dict().items()}
    weights |= {f"prior/{k}": v.half() for k, v in prior.named_parameters()}
    weights |= {f"prior/{k}": v for k, v in prior.named_buffers()}
    weights |= {f"property_model/{k}": v for k, v in property_model.state_dict().items()}
    _save(weights, folder / "weights.safetensors")
    arrays = {"latents": reference.latents, "values": reference.values, **reference.tensors}
    _save(arrays, folder / "reference.safetensors")
    (folder / "reference.json").write_text(json.dumps(reference.statistics), encoding="utf-8")
    (folder / "config.toml").write_text(config_toml, encoding="utf-8")
    sums = {
        "weights_sha256": sha256(folder / "weights.safetensors"),
        "files_sha256": {name: sha256(folder / name) for name in CHECKED_FILES},
    }
    text = json.dumps({**card, **sums}, indent=2, ensure_ascii=False)
    (folder / "card.json").write_text(text + "\n", encoding="utf-8")
    return folder


def _save(tensors: Mapping[str, Tensor], path: Path) -> None:
    # `save_file` would write a file that only its owner can read.
    path.write_bytes(save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}))
