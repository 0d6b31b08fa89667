"""Settings of a model and its training, read from TOML; an unknown key is an error."""

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
    """The schedule of the autoencoder's training."""

    steps: int
    freeze_encoder_after: int  # steps; afterwards encoder and heads are frozen
    batch_size: int = 64  # crystals per process
    noise_draws_per_crystal: int = 2  # noisy copies of each crystal in a step
    perturb_probability: float = 0.0  # share of crystals to distort first, for small data sets
    atom_latent_dropout: float = 0.2  # share of the noisy copies that are decoded only from z
    learning_rate: float = 1e-3
    warmup_steps: int = 300
    lr_final_ratio: float = 0.02  # last learning rate relative to the peak
    weight_decay: float = 0.0
    grad_clip_norm: float = 1.0
    ema_decay: float = 0.999
    seed: int = 0
    compile: bool = False  # torch.compile of the networks; needs a C++ compiler


@dataclass(frozen=True)
class PriorConfig:
    """Size and training of the prior."""

    components: int  # principal components of the posterior means
    width: int = 256
    blocks: int = 4
    steps: int = 6000
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    seed: int = 0


@dataclass(frozen=True)
class SamplingConfig:
    """The maximum NFE (network evaluations) of the sampler ``ancestral``, by kind of crystal."""

    nfe_generated: int = 100  # new crystals, one attempt; more hardly help
    nfe_constrained: int = 100  # new crystals of a fixed composition
    nfe_reconstructed: int = 100  # given crystals, all attempts together
    nfe_per_attempt: int = 25  # the last one scores the attempt
    accept_below: float = 0.0  # latent_mse at which an attempt is accepted

    @property
    def nfe(self) -> int:
        """The default NFE of a request: the largest of the three."""
        return max(self.nfe_generated, self.nfe_constrained, self.nfe_reconstructed)


@dataclass(frozen=True)
class PropertyModelConfig:
    """Size and training of the property model, which is independent of the autoencoder."""

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
    units: dict[str, str]  # by property
    descriptions: dict[str, str]  # by property, one sentence each

    def __post_init__(self) -> None:
        for table in (self.units, self.descriptions):
            if table.keys() != set(self.model.properties):
                raise DataError(
                    f"[units] and [descriptions] must name {', '.join(self.model.properties)};"
                    f" got {', '.join(table) or 'nothing'}"
                )


def _build(kind: type, values: Mapping[str, Any], where: str) -> Any:
    """Return an instance of the dataclass ``kind`` from TOML values."""
    hints = get_type_hints(kind)
    known = {field.name: field for field in fields(kind)}
    unknown = sorted(values.keys() - known.keys())
    if unknown:
        raise DataError(f"{where}: unknown key {', '.join(unknown)}; known: {', '.join(known)}")
    arguments = {}
    for name, field in known.items():
        hint = hints[name]
        if isinstance(hint, type) and is_dataclass(hint):
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
    """Return the settings in a TOML file.

    Raises:
        DataError: the file is missing or not valid TOML, or a key is unknown, missing or ill-typed.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"{path}: {error}") from error
    config: TrainConfig = _build(TrainConfig, values, str(path))
    return config


def build_prior(config: TrainConfig) -> LatentPrior:
    """Return the untrained prior of these settings."""
    model, settings = config.model, config.prior
    return LatentPrior(
        model.latent_dim, settings.components, model.max_atoms, settings.width, settings.blocks
    )
