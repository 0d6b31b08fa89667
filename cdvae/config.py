"""Settings of a model and its training, from TOML; an unknown key is an error, no default."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from cdvae.errors import DataError
from cdvae.nn.autoencoder import ModelConfig
from cdvae.nn.backbone import BackboneConfig
from cdvae.prior.latent_prior import LatentPrior


@dataclass(frozen=True)
class OptimizerConfig:
    """How the weights are moved."""

    steps: int
    freeze_encoder_after: (
        int  # after these the encoder and the heads are fixed, the decoder goes on alone
    )
    batch_size: int = 64  # crystals of one process
    noise_draws_per_crystal: int = 2  # corruptions of each crystal in a step
    perturb_probability: float = (
        0.0  # of the crystals that are distorted first, for small data sets
    )
    atom_latent_dropout: float = 0.2  # of the noisy copies, decoded from z alone
    learning_rate: float = 1e-3
    warmup_steps: int = 300
    lr_final_ratio: float = 0.02  # of the learning rate, at the end of the cosine
    weight_decay: float = 0.0
    grad_clip_norm: float = 1.0
    ema_decay: float = 0.999
    seed: int = 0
    compile: bool = False  # torch.compile of the networks; needs a C++ compiler


@dataclass(frozen=True)
class PriorConfig:
    """Size and training of the prior."""

    components: int  # principal components of the posterior means that it draws
    width: int = 256
    blocks: int = 4
    steps: int = 6000
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    seed: int = 0


@dataclass(frozen=True)
class SamplingConfig:
    """How many score evaluations the sampler ``ancestral`` spends at most, and how."""

    nfe_generated: int = 100  # on a new crystal, in one run: more hardly make it better
    nfe_constrained: int = 100  # the same where its atoms are required: then more may help longer
    nfe_reconstructed: int = 100  # on a given crystal, in runs of ``nfe_per_attempt``
    nfe_per_attempt: int = 25  # of which the last judges the run, where there may be others
    accept_below: float = 0.0  # latent_mse at which a given crystal needs no other run

    @property
    def nfe(self) -> int:
        """By default: all that help."""
        return max(self.nfe_generated, self.nfe_constrained, self.nfe_reconstructed)


@dataclass(frozen=True)
class PropertyModelConfig:
    """Size and training of the property property model, which is independent of the autoencoder."""

    steps: int
    backbone: BackboneConfig
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    seed: int = 0
    compile: bool = False  # torch.compile of the network; needs a C++ compiler


@dataclass(frozen=True)
class LossWeights:
    """One factor for each term of :class:`cdvae.training.loss.LossTerms`."""

    num_atoms: float = 1.0
    lattice: float = 1.0
    composition: float = 1.0
    properties: float = 1.0
    coordinates: float = 10.0
    atom_types: float = 1.0
    sites: float = 1.0
    kl: float = 0.01
    elements: float = 1.0
    phases: float = 2.0
    kl_atom_latents: float = 0.005


@dataclass(frozen=True)
class TrainConfig:
    """A whole training run."""

    name: str
    dataset: str
    description: str
    model: ModelConfig
    optimizer: OptimizerConfig
    prior: PriorConfig
    sampling: SamplingConfig
    property_model: PropertyModelConfig
    loss: LossWeights
    units: dict[str, str]  # of each property
    descriptions: dict[str, str]  # of each property, a sentence

    def __post_init__(self) -> None:
        for table in (self.units, self.descriptions):
            if table.keys() != set(self.model.properties):
                raise DataError(
                    f"[units] and [descriptions] must name {', '.join(self.model.properties)};"
                    f" found {', '.join(table) or 'nothing'}"
                )


def _build(kind: type, values: Mapping[str, Any], where: str) -> Any:
    """An instance of the dataclass ``kind`` from plain TOML values."""
    hints = get_type_hints(kind)
    known = {field.name: field for field in fields(kind)}
    unknown = sorted(values.keys() - known.keys())
    if unknown:
        raise DataError(f"{where}: unknown key {', '.join(unknown)}; known: {', '.join(known)}")
    arguments = {}
    for name, field in known.items():
        hint = hints[name]
        if is_dataclass(hint):
            arguments[name] = _build(hint, values.get(name, {}), f"{where}.{name}")
        elif name in values:
            arguments[name] = _scalar(hint, values[name], f"{where}.{name}")
        elif field.default is MISSING:
            raise DataError(f"{where}: {name} is missing")
    return kind(**arguments)


def _scalar(hint: Any, value: Any, where: str) -> Any:
    if isinstance(value, list):
        return tuple(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, get_origin(hint) or hint):
        raise DataError(f"{where}: {value!r} is not {hint.__name__}")
    return value


def load_config(path: Path) -> TrainConfig:
    """The settings in a TOML file.

    Raises:
        DataError: the file is missing, is no TOML, or has an unknown, missing or ill-typed key.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"{path}: {error}") from error
    config: TrainConfig = _build(TrainConfig, values, str(path))
    return config


def build_prior(config: TrainConfig) -> LatentPrior:
    """The prior of these settings, untrained."""
    model, settings = config.model, config.prior
    return LatentPrior(
        model.latent_dim, settings.components, model.max_atoms, settings.width, settings.blocks
    )
