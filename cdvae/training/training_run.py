"""The training run of the autoencoder: its processes, its loss and its two phases."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from cdvae.config import TrainConfig
from cdvae.data.dataset import CrystalDataset
from cdvae.diffusion.noise import NoiseSchedule
from cdvae.errors import DataError
from cdvae.geometry.crystal import CrystalBatch
from cdvae.nn.autoencoder import CDVAE
from cdvae.training.augmentation import perturb
from cdvae.training.checkpoint import load_state
from cdvae.training.loss import Corruption, LossTerms, compute_loss
from cdvae.training.schedule import learning_rate
from cdvae.training.trainer import CHECKPOINT_SECONDS, Trainer, averaged_weights

STATE = "state.safetensors"


class TrainingLoss(nn.Module):
    """The loss as a module, so that DistributedDataParallel sees one forward call."""

    def __init__(self, model: CDVAE, config: TrainConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.corruption = Corruption(
            NoiseSchedule(config.model.sigma_max, config.model.sigma_min),
            config.optimizer.noise_draws_per_crystal,
            config.optimizer.atom_latent_dropout,
        )

    def forward(
        self, crystals: CrystalBatch, properties: Tensor, rng: torch.Generator
    ) -> tuple[Tensor, LossTerms]:
        """Return the weighted total and its terms."""
        share, distorted = self.config.optimizer.perturb_probability, None
        if share > 0:
            crystals, properties, distorted = perturb(crystals, properties, share, rng)
        terms = compute_loss(self.model, crystals, properties, self.corruption, rng, distorted)
        return terms.total(self.config.loss), terms


@dataclass(frozen=True)
class ProcessRank:
    """The number of this process among its peers, and its device."""

    rank: int
    peers: int
    device: torch.device

    @staticmethod
    def join() -> ProcessRank:
        """Join the group of processes that torchrun describes; without torchrun there is one."""
        cuda = torch.cuda.is_available()
        if "RANK" not in os.environ:
            return ProcessRank(0, 1, torch.device("cuda" if cuda else "cpu"))
        distributed.init_process_group("nccl" if cuda else "gloo")
        local = int(os.environ["LOCAL_RANK"])
        device = torch.device("cuda", local) if cuda else torch.device("cpu")
        return ProcessRank(distributed.get_rank(), distributed.get_world_size(), device)


class AutoencoderRun:
    """The training of the autoencoder, first as a whole, then with encoder and heads frozen."""

    def __init__(
        self,
        config: TrainConfig,
        data: CrystalDataset,
        folder: Path,
        init: Path | None = None,
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
    ) -> None:
        """Start a run in ``folder``, or resume it.

        Raises:
            DataError: ``init`` or the state in ``folder`` does not fit the configuration.
        """
        self.config, settings = config, config.optimizer
        self.process = ProcessRank.join()
        path = folder / STATE
        torch.manual_seed(settings.seed)
        self.model = CDVAE(config.model).to(self.process.device)
        if init is not None and not path.exists():
            take_weights(self.model, init)
        self.model.heads.fit_scalers(data.crystals, data.properties)
        self.trainer = Trainer(
            self.model,
            torch.optim.AdamW(
                self.model.parameters(),
                settings.learning_rate,
                weight_decay=settings.weight_decay,
                fused=True,
            ),
            path,
            seed=settings.seed,
            schedule=lambda step: {"lr": learning_rate(step, settings)},
            ema_decay=settings.ema_decay,
            max_norm=settings.grad_clip_norm,
            rank=self.process.rank,
            checkpoint_seconds=checkpoint_seconds,
        )
        self.trainer.meta["name"] = config.name

    @property
    def averaged(self) -> CDVAE:
        """The averaged network."""
        network = self.trainer.result
        assert isinstance(network, CDVAE)
        return network

    def loss(self) -> nn.Module:
        """Return the loss of the present phase; freeze encoder and heads in the second phase.

        They are frozen at their averaged weights. So the decoder sees the latents of the finished
        model in the second phase, and the prior can be fitted to them.
        """
        if self.trainer.step >= self.config.optimizer.freeze_encoder_after:
            self.model.encoder.load_state_dict(self.averaged.encoder.state_dict())
            self.model.heads.load_state_dict(self.averaged.heads.state_dict())
            self.model.encoder.requires_grad_(False)
            self.model.heads.requires_grad_(False)
        loss = TrainingLoss(self.model, self.config)
        return DistributedDataParallel(loss) if self.process.peers > 1 else loss


def take_weights(model: CDVAE, folder: Path) -> None:
    """Load the weights of a model folder that have the name and shape of a weight of ``model``.

    Raises:
        DataError: the weights cannot be read, or none of them fits.
    """
    path = folder / "weights.safetensors"
    weights, common = model.state_dict(), {}
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (not a mapping)
                key = name.removeprefix("network/")
                if key in weights and list(weights[key].shape) == file.get_slice(name).get_shape():
                    common[key] = file.get_tensor(name)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path}: cannot read the initial weights ({error})") from error
    if not common:
        raise DataError(f"{path}: no weight fits the network of the configuration")
    model.load_state_dict({**weights, **common})


def load_network(config: TrainConfig, folder: Path) -> tuple[CDVAE, int]:
    """Return the averaged model in the folder of a run, and the number of steps done."""
    groups, meta = load_state(folder / STATE)
    model = CDVAE(config.model)
    model.load_state_dict(averaged_weights(groups))
    return model.eval(), meta["step"]
