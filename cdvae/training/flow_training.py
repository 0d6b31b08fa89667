"""Training of the joint law of z and the atom latents, once the encoder is fixed.

``python -m cdvae.training.flow_training MODEL --data CACHE --state FOLDER --steps N`` trains it
for the model in a folder, and goes on where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import one_hot
from torch.nn.utils.rnn import pad_sequence
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from cdvae.compute import configure
from cdvae.data.dataset import load_cache
from cdvae.geometry.elements import NUM_SPECIES
from cdvae.model_folder import load_model
from cdvae.nn.encoder import Latent, Posterior
from cdvae.prior.latent_flow import LatentFlow, LatentFlowConfig, LatentSet, LatentTime
from cdvae.training.checkpoint import load_state, optimizer_tensors, restore_optimizer, save_state
from cdvae.training.encode import encode_all

MICRO_BATCHES = 4
"""Parts of a batch, by size, so that few atoms are padding."""
CHECKPOINT_SECONDS = 120
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
    """The posterior of N crystals, and the elements of their atoms."""

    posterior: Posterior
    atomic_numbers: Tensor  # (A,)

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
        present = torch.arange(int(sizes.max())) < sizes[:, None]
        return Batch(
            LatentSet(self.posterior.z.mean[rows], pad_sequence(list(drawn), batch_first=True)),
            pad_sequence(list(elements.split(sizes.tolist())), batch_first=True),
            present,
        )


@dataclass(frozen=True)
class Batch:
    """Padded crystals."""

    latents: LatentSet  # in the encoder's units
    elements: Tensor  # (B, N, Z) one-hot
    present: Tensor  # (B, N) bool


def match_noise(noise: Tensor, data: Tensor, elements: Tensor, present: Tensor) -> Tensor:
    """``noise`` (B, N, K) with the atoms of each element reordered to lie near ``data``.

    Atoms of one element may exchange their noise, as the law does not depend on their order; the
    nearest assignment makes the paths short and straight (equivariant optimal transport, Klein et
    al. 2023).
    """
    distance = torch.cdist(data, noise).square()
    kind = elements.argmax(-1)
    other = (kind[:, :, None] != kind[:, None, :]) | ~present[:, None, :]
    cost = (distance + 1e6 * other).numpy()
    sizes = present.sum(1).tolist()
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
    data = flow.scaled(batch.latents)
    present = batch.present
    noise = LatentSet(
        torch.randn(data.z.shape, generator=rng), torch.randn(data.atoms.shape, generator=rng)
    )
    matched = match_noise(noise.atoms, data.atoms, batch.elements, present)
    noise = LatentSet(noise.z, matched)
    t = draw_times(len(data.z), rng) if t is None else t
    velocity = flow(noise.lerp(data, t), t, batch.elements, present)
    z_error = (velocity.z - (data.z - noise.z)).square().mean(1) * (t.z < 1)
    atom_error = (velocity.atoms - (data.atoms - noise.atoms)).square().mean(2)
    return z_error.sum(), (atom_error * present).sum()


class FlowTraining:
    """A run in a folder: ``latent_flow.safetensors``, ``train.csv`` and ``validation.csv``."""

    def __init__(
        self, data: LatentData, validation: LatentData, size: LatentFlowConfig,
        config: FlowTrainConfig, folder: Path,
    ) -> None:  # fmt: skip
        self.data, self.validation, self.config, self.folder = data, validation, config, folder
        z, atom_latents = data.posterior.z.mean, data.posterior.atom_latents.mean
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.flow = LatentFlow(z.shape[1], atom_latents.shape[1], size)
        self.flow.fit_scalers(z, atom_latents)
        self.average = AveragedModel(
            self.flow, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay), use_buffers=True
        )
        self.optimizer = torch.optim.AdamW(
            self.flow.parameters(), config.learning_rate, weight_decay=config.weight_decay,
            betas=(0.9, 0.99), fused=True,
        )  # fmt: skip
        self.path, self.step, self.seconds = folder / "latent_flow.safetensors", 0, 0.0
        if self.path.exists():
            groups, meta = load_state(self.path)
            self.flow.load_state_dict(groups["model"])
            self.average.load_state_dict(groups["average"])
            if "optimizer" in groups:
                restore_optimizer(self.optimizer, groups["optimizer"])
            self.step, self.seconds = meta["step"], meta["seconds"]

    def save(self) -> None:
        """Writes the state."""
        groups = {
            "model": self.flow.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": optimizer_tensors(self.optimizer),
        }
        save_state(self.path, groups, {"step": self.step, "seconds": self.seconds})

    def run(self) -> LatentFlow:
        """Trains up to the configured number of steps and returns the average."""
        config = self.config
        clock = saved = time.monotonic()
        bar = tqdm(initial=self.step, total=config.steps, unit="step", mininterval=5)
        for rows in self._batches():
            rng = torch.Generator().manual_seed(1 + self.step + config.seed * 10**9)
            z_loss, atom_loss = self._update(rows, rng)
            self.step += 1
            bar.update()
            now = time.monotonic()
            self.seconds += now - clock
            clock = now
            if self.step % LOG_EVERY == 0:
                self._log("train.csv", {"z": z_loss, "atoms": atom_loss})
            if self.step % VALIDATE_EVERY == 0:
                self._log("validation.csv", self.validate())
            if now - saved > CHECKPOINT_SECONDS or self.step == config.steps:
                self.save()
                saved = now
        bar.close()
        return self.average.module.eval()

    def _batches(self) -> Iterator[Tensor]:
        """Rows of each step from ``self.step`` on; every epoch is a permutation of its own."""
        number, size = len(self.data), self.config.batch_size
        per_epoch = number // size
        while self.step < self.config.steps:
            epoch, first = divmod(self.step, per_epoch)
            order = torch.randperm(number, generator=torch.Generator().manual_seed(epoch))
            for i in range(first, per_epoch):
                if self.step >= self.config.steps:
                    return
                yield order[i * size : (i + 1) * size]

    def _update(self, rows: Tensor, rng: torch.Generator) -> tuple[float, float]:
        """One step; the losses of z and of the atoms."""
        config = self.config
        # After a resumption without moments the rate rises anew as well.
        rate = config.learning_rate * min(1.0, (self.step + 1) / config.warmup_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        rows = rows[self.data.posterior.num_atoms[rows].argsort()]
        atoms = int(self.data.posterior.num_atoms[rows].sum())
        self.optimizer.zero_grad(set_to_none=True)
        z_total = atom_total = 0.0
        for part in rows.chunk(MICRO_BATCHES):
            z, own = flow_losses(self.flow, self.data.batch(part, rng), rng)
            (z / len(rows) + own / atoms).backward()
            z_total += float(z.detach()) / len(rows)
            atom_total += float(own.detach()) / atoms
        torch.nn.utils.clip_grad_norm_(self.flow.parameters(), 1.0)
        self.optimizer.step()
        self.average.update_parameters(self.flow)
        return z_total, atom_total

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Losses of the average on validation crystals, with the same noise every time."""
        flow = self.average.module.eval()
        rows = torch.arange(min(VALIDATION_CRYSTALS, len(self.validation)))
        rows = rows[self.validation.posterior.num_atoms[rows].argsort()]
        atoms = int(self.validation.posterior.num_atoms[rows].sum())
        found = {"z": 0.0, "atoms": 0.0, "atoms_given_z": 0.0}
        rng = torch.Generator().manual_seed(0)
        for part in rows.split(64):
            batch = self.validation.batch(part, rng)
            t = torch.randn(len(part), generator=rng).sigmoid()
            z, own = flow_losses(flow, batch, rng, LatentTime(t, t))
            _, given = flow_losses(flow, batch, rng, LatentTime(torch.ones_like(t), t))
            found["z"] += float(z) / len(rows)
            found["atoms"] += float(own) / atoms
            found["atoms_given_z"] += float(given) / atoms
        return found

    def _log(self, name: str, figures: dict[str, float]) -> None:
        row = {"step": self.step, "seconds": round(self.seconds), **figures}
        new = not (self.folder / name).exists()
        with (self.folder / name).open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, row)
            if new:
                writer.writeheader()
            writer.writerow(row)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="model folder whose encoder makes the latents")
    parser.add_argument("--data", type=Path, required=True, help="folder of the tensor caches")
    parser.add_argument("--state", type=Path, required=True, help="folder of the run's state")
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
        parts.append(LatentData(encode_all(model.network, data), data.crystals.atomic_numbers))
    config = FlowTrainConfig(
        options.steps, batch_size=options.batch_size, learning_rate=options.learning_rate
    )
    size = LatentFlowConfig(options.width, options.layers)
    options.state.mkdir(parents=True, exist_ok=True)
    FlowTraining(parts[0], parts[1], size, config, options.state).run()


if __name__ == "__main__":
    main()
