"""Training of the joint law of z and the atom latents, once the encoder is fixed.

``python -m cdvae.training.flow_training MODEL --data CACHE --state FOLDER --steps N`` trains it
for the model in a folder, and goes on where it stopped.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import one_hot
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from cdvae.compute import configure
from cdvae.data.dataset import load_cache
from cdvae.errors import DataError
from cdvae.geometry.elements import NUM_SPECIES
from cdvae.model_folder import load_model
from cdvae.nn.encoder import Latent, Posterior
from cdvae.prior.latent_flow import (
    FlowCondition,
    LatentFlow,
    LatentFlowConfig,
    LatentSet,
    LatentTime,
)
from cdvae.symmetry.crystal_sites import CrystalSites, crystal_sites
from cdvae.symmetry.site_solver import NUM_POSITIONS
from cdvae.training.checkpoint import load_state, save_state
from cdvae.training.encode import encode_all
from cdvae.training.trainer import Trainer, append_row

MICRO_BATCHES = 4
"""Parts of a batch, by size, so that few atoms are padding."""
SITES_UNKNOWN = 0.15
"""Share of the crystals in training whose sites the network is not told."""
LOG_EVERY, VALIDATE_EVERY = 100, 1000
VALIDATION_CRYSTALS = 1024


@dataclass(frozen=True)
class FlowTrainConfig:
    """The schedule of the training."""

    steps: int
    batch_size: int = 256
    learning_rate: float = 5e-4
    warmup_steps: int = 500
    weight_decay: float = 0.01
    ema_decay: float = 0.9995
    seed: int = 0


@dataclass(frozen=True)
class LatentData:
    """The posterior of N crystals, the elements of their atoms, and the sites that they occupy."""

    posterior: Posterior
    atomic_numbers: Tensor  # (A,)
    sites: CrystalSites

    def __post_init__(self) -> None:
        sizes = self.posterior.num_atoms
        object.__setattr__(self, "_first", sizes.cumsum(0) - sizes)

    def __len__(self) -> int:
        return len(self.posterior)

    def batch(self, rows: Tensor, rng: torch.Generator) -> Batch:
        """The crystals ``rows``: z at its mean, which says what a draw says without its noise; the
        atom latents drawn, so that no two epochs are alike.
        """
        sizes = self.posterior.num_atoms[rows]
        first = self._first[rows]  # type: ignore[attr-defined]
        spans = [
            torch.arange(f, f + n) for f, n in zip(first.tolist(), sizes.tolist(), strict=True)
        ]
        atoms = torch.cat(spans)
        own = self.posterior.atom_latents
        drawn = Latent(own.mean[atoms], own.logvar[atoms]).sample(rng).split(sizes.tolist())
        elements = one_hot(self.atomic_numbers[atoms] - 1, NUM_SPECIES).float()

        def padded(values: Tensor) -> Tensor:
            return pad_sequence(list(values.split(sizes.tolist())), batch_first=True)

        condition = FlowCondition(
            padded(elements),
            self.sites.spacegroup[rows],
            padded(self.sites.positions[atoms]),
            torch.arange(int(sizes.max())) < sizes[:, None],
        )
        latents = LatentSet(self.posterior.z.mean[rows], pad_sequence(drawn, batch_first=True))
        return Batch(latents, condition)


@dataclass(frozen=True)
class Batch:
    """Padded crystals."""

    latents: LatentSet  # in the encoder's units
    condition: FlowCondition


def match_noise(noise: Tensor, data: Tensor, condition: FlowCondition) -> Tensor:
    """Return ``noise`` (B, N, K) with the atoms of each kind reordered to lie near ``data``.

    Atoms of one element and position may exchange their noise, as the law does not depend on their
    order; the nearest assignment makes the paths short and straight (equivariant optimal transport,
    Klein et al. 2023).
    """
    assert condition.present is not None
    distance = torch.cdist(data, noise).square()
    kind = condition.elements.argmax(-1) * (NUM_POSITIONS + 1) + condition.positions
    other = (kind[:, :, None] != kind[:, None, :]) | ~condition.present[:, None, :]
    cost = (distance + 1e6 * other).numpy()
    sizes = condition.present.sum(1).tolist()
    order = np.tile(np.arange(noise.shape[1]), (len(noise), 1))
    for i, n in enumerate(sizes):
        order[i, :n] = linear_sum_assignment(cost[i, :n, :n])[1]
    index = torch.from_numpy(order)[..., None].expand_as(noise)
    return noise.gather(1, index)


def draw_times(number: int, rng: torch.Generator) -> LatentTime:
    """Times of a training step: half of them joint, a quarter with z given, a quarter apart."""
    atoms, apart = torch.randn(2, number, generator=rng).sigmoid()
    choice = torch.rand(number, generator=rng)
    z = torch.where(choice < 0.5, atoms, torch.where(choice < 0.75, torch.ones(()), apart))
    return LatentTime(z, atoms)


def flow_losses(
    flow: LatentFlow, batch: Batch, rng: torch.Generator, t: LatentTime | None = None
) -> tuple[Tensor, Tensor]:
    """Squared errors of the velocity: of z, summed over (B,) crystals, and of the atoms.

    Both are means over components: one a crystal and one an atom, summed.
    """
    data, condition = flow.scaled(batch.latents), batch.condition
    assert condition.present is not None
    noise = LatentSet(
        torch.randn(data.z.shape, generator=rng), torch.randn(data.atoms.shape, generator=rng)
    )
    matched = match_noise(noise.atoms, data.atoms, condition)
    noise = LatentSet(noise.z, matched)
    t = draw_times(len(data.z), rng) if t is None else t
    velocity = flow(noise.lerp(data, t), t, condition)
    z_error = (velocity.z - (data.z - noise.z)).square().mean(1) * (t.z < 1)
    atom_error = (velocity.atoms - (data.atoms - noise.atoms)).square().mean(2)
    return z_error.sum(), (atom_error * condition.present).sum()


WEIGHTS = "flow"
"""Group of the weights in a file of :func:`save_weights`."""


def save_weights(flow: LatentFlow, path: Path, meta: Mapping[str, float]) -> None:
    """Write the weights in half precision, to start another run from, and ``meta`` beside them."""
    save_state(path, {WEIGHTS: {k: v.half() for k, v in flow.state_dict().items()}}, dict(meta))


def load_weights(flow: LatentFlow, path: Path) -> dict[str, Any]:
    """Load the weights in a file of :func:`save_weights` into ``flow``; return its ``meta``.

    Raises:
        DataError: the file is not such a file, or of a network of another size.
    """
    groups, meta = load_state(path)
    try:
        flow.load_state_dict({k: v.float() for k, v in groups[WEIGHTS].items()})
    except (KeyError, RuntimeError) as error:
        raise DataError(f"{path}: not the weights of this network ({error})") from error
    return meta


class FlowTraining:
    """A run in a folder: ``latent_flow.safetensors``, ``flow_train.csv``, ``flow_validation.csv``.

    Curves hold the step, the seconds of computation and the losses.
    """

    def __init__(
        self,
        data: LatentData,
        validation: LatentData,
        size: LatentFlowConfig,
        config: FlowTrainConfig,
        folder: Path,
        init: Path | None = None,
    ) -> None:
        """Resume from ``folder`` if it holds a state, else start from the weights in ``init``.

        Raises:
            DataError: the state or the weights belong to another network.
        """
        self._data, self._validation, self._config, self._folder = data, validation, config, folder
        z, atom_latents = data.posterior.z.mean, data.posterior.atom_latents.mean
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self._flow = LatentFlow(z.shape[1], atom_latents.shape[1], size)
        self._flow.fit_scalers(z, atom_latents)
        if init is not None:
            load_weights(self._flow, init)
        optimizer = torch.optim.AdamW(
            self._flow.parameters(),
            config.learning_rate,
            weight_decay=config.weight_decay,
            betas=(0.9, 0.99),
            fused=True,
        )
        self._trainer = Trainer(
            self._flow,
            optimizer,
            folder / "latent_flow.safetensors",
            seed=config.seed,
            schedule=self._schedule,
            ema_decay=config.ema_decay,
            max_norm=1.0,
        )
        self._trainer.meta.setdefault("seconds", 0.0)

    def run(self) -> LatentFlow:
        """Train up to the configured number of steps and return the average."""
        trainer, steps = self._trainer, self._config.steps
        clock = time.monotonic()
        bar = tqdm(initial=trainer.step, total=steps, unit="step", mininterval=5)
        for rows in self._batches():
            rng = trainer.generator()
            losses = self._losses(rows, rng)
            trainer.update(sum(losses.values(), torch.zeros(())))
            bar.update()
            now = time.monotonic()
            trainer.meta["seconds"] += now - clock
            clock = now
            if trainer.step % LOG_EVERY == 0:
                self._log("flow_train.csv", {name: float(x.detach()) for name, x in losses.items()})
            if trainer.step % VALIDATE_EVERY == 0:
                self._log("flow_validation.csv", self.validate())
            trainer.save(now=trainer.step == steps)
        bar.close()
        flow: LatentFlow = cast(LatentFlow, trainer.result)
        return flow.eval()

    def _schedule(self, step: int) -> dict[str, float]:
        warmup = min(1.0, (step + 1) / self._config.warmup_steps)
        return {"lr": self._config.learning_rate * warmup}

    def _batches(self) -> Iterator[Tensor]:
        """Yield the rows of each step that is left; every epoch has its permutation."""
        number, size = len(self._data), self._config.batch_size
        for step in range(self._trainer.step, self._config.steps):
            epoch, place = divmod(step, number // size)
            order = torch.randperm(number, generator=torch.Generator().manual_seed(epoch))
            yield order[place * size : (place + 1) * size]

    def _losses(self, rows: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        """Return the losses of z and of the atom latents of the crystals ``rows``."""
        sizes = self._data.posterior.num_atoms[rows]
        rows = rows[sizes.argsort()]
        parts = []
        for part in rows.chunk(MICRO_BATCHES):
            batch = self._data.batch(part, rng)
            unknown = torch.rand(len(part), generator=rng) < SITES_UNKNOWN
            condition = batch.condition.without_sites(unknown)
            parts.append(flow_losses(self._flow, replace(batch, condition=condition), rng))
        z, atoms = (torch.stack(losses).sum() for losses in zip(*parts, strict=True))
        return {"z": z / len(rows), "atoms": atoms / sizes.sum()}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Return the losses of the average on validation crystals, always with the same noise."""
        flow = cast(LatentFlow, self._trainer.result).eval()
        data = self._validation
        rows = torch.arange(min(VALIDATION_CRYSTALS, len(data)))
        sizes = data.posterior.num_atoms[rows]
        found = {"z": 0.0, "atoms": 0.0, "atoms_given_z": 0.0}
        rng = torch.Generator().manual_seed(0)
        for part in rows[sizes.argsort()].split(64):
            batch = data.batch(part, rng)
            t = torch.randn(len(part), generator=rng).sigmoid()
            z, atoms = flow_losses(flow, batch, rng, LatentTime(t, t))
            _, given = flow_losses(flow, batch, rng, LatentTime(torch.ones_like(t), t))
            found["z"] += float(z) / len(rows)
            found["atoms"] += float(atoms) / int(sizes.sum())
            found["atoms_given_z"] += float(given) / int(sizes.sum())
        return found

    def _log(self, name: str, figures: dict[str, float]) -> None:
        seconds = round(self._trainer.meta["seconds"])
        row = {"step": self._trainer.step, "seconds": seconds, **figures}
        append_row(self._folder / name, row)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="model folder whose encoder makes the latents")
    parser.add_argument("--data", type=Path, required=True, help="folder of the tensor caches")
    parser.add_argument("--state", type=Path, required=True, help="folder of the run's state")
    parser.add_argument("--init", type=Path, help="weights that a fresh run starts from")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    configure(options.threads)
    model = load_model(options.model)
    parts = []
    for split in ("train", "val"):
        data = load_cache(options.data / f"{split}.safetensors")
        sites = crystal_sites(data.crystals, options.data / f"{split}-sites.safetensors")
        posterior = encode_all(model.network, data)
        parts.append(LatentData(posterior, data.crystals.atomic_numbers, sites))
    config = FlowTrainConfig(
        options.steps, batch_size=options.batch_size, learning_rate=options.learning_rate
    )
    size = LatentFlowConfig(options.width, options.layers)
    options.state.mkdir(parents=True, exist_ok=True)
    FlowTraining(parts[0], parts[1], size, config, options.state, options.init).run()


if __name__ == "__main__":
    main()
