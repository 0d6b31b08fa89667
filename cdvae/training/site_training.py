"""Training of the prior over space groups and Wyckoff positions; resumable.

``python -m cdvae.training.site_training --data CACHE --state FOLDER`` trains it on the crystals of
a tensor cache and goes on where it stopped.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cdvae.compute import configure
from cdvae.data.dataset import load_cache
from cdvae.geometry.crystal import CrystalBatch, element_counts
from cdvae.geometry.lattice import to_log_metric
from cdvae.prior.site_prior import SitePrior, SitePriorConfig
from cdvae.prior.site_sequences import Orbit, site_sequences
from cdvae.symmetry.crystal_sites import CrystalSites, crystal_sites
from cdvae.symmetry.group_cells import Group
from cdvae.symmetry.site_solver import position_number
from cdvae.training.schedule import one_cycle
from cdvae.training.trainer import CHECKPOINT_SECONDS, Trainer, append_row, ema_decay

LOG_EVERY, VALIDATION_CRYSTALS = 250, 2048


@dataclass(frozen=True)
class SiteTrainConfig:
    """The schedule of the training."""

    steps: int = 1500
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    seed: int = 0


@dataclass(frozen=True)
class SiteData:
    """Compositions with known sites."""

    counts: Tensor  # (B, Z)
    spacegroup: Tensor  # (B,) int64
    orbits: list[list[Orbit]]
    log_metric: Tensor  # (B, 6) of the cell in the axes of the group, as symmetric as the group

    @staticmethod
    def of(crystals: CrystalBatch, sites: CrystalSites) -> SiteData:
        """Return the crystals whose sites are known."""
        known = (sites.spacegroup > 0).nonzero()[:, 0].tolist()
        sizes = crystals.num_atoms.tolist()
        elements, positions = crystals.atomic_numbers.split(sizes), sites.positions.split(sizes)
        orbits = [
            _orbits(int(sites.spacegroup[i]), elements[i].tolist(), positions[i].tolist())
            for i in known
        ]
        spacegroup = sites.spacegroup[known]
        log_metric = _log_metrics(
            crystals.lattice[known], crystals.num_atoms[known], spacegroup, sites.basis[known]
        )
        return SiteData(element_counts(crystals)[known], spacegroup, orbits, log_metric)

    def __len__(self) -> int:
        return len(self.orbits)

    def losses(self, prior: SitePrior, rows: Tensor) -> dict[str, Tensor]:
        """Return the losses of the crystals ``rows``, each (B,), as in :func:`fit_site_prior`."""
        orbits = [self.orbits[i] for i in rows.tolist()]
        sequences = site_sequences(self.counts[rows], self.spacegroup[rows], orbits)
        group_log, orbit_log, metric = prior.log_prob(sequences)
        error = (metric - self.log_metric[rows]).abs().sum(1)
        return {"spacegroup": -group_log, "orbits": -orbit_log, "metric": error}


def _log_metrics(lattice: Tensor, num_atoms: Tensor, spacegroup: Tensor, basis: Tensor) -> Tensor:
    """Return the log metrics (B, 6) of ``lattice`` (B, 3, 3) in the axes of the groups."""
    own = basis.to(lattice).mT @ lattice
    metric = own @ own.mT
    for number in spacegroup.unique().tolist():
        rows = spacegroup == number
        rotation = torch.from_numpy(Group.of(number).ops.rotation).to(metric)
        metric[rows] = torch.einsum("gji,bjk,gkl->bil", rotation, metric[rows], rotation) / len(
            rotation
        )
    return to_log_metric(torch.linalg.cholesky(metric.double()), num_atoms).float()


def _orbits(spacegroup: int, elements: list[int], positions: list[int]) -> list[Orbit]:
    first = position_number(spacegroup, 0)
    known = Group.of(spacegroup).positions
    orbits = []
    for (element, number), atoms in Counter(zip(elements, positions, strict=True)).items():
        index = number - first
        orbits += [Orbit(element, index)] * (atoms // known[index].multiplicity)
    return orbits


def fit_site_prior(
    data: SiteData,
    max_atoms: int,
    size: SitePriorConfig,
    config: SiteTrainConfig,
    on_step: Callable[[int, SitePrior, dict[str, float]], None],
    path: Path | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> SitePrior:
    """Return a prior trained on ``data``.

    Args:
        data: compositions with known sites.
        max_atoms: largest number of atoms in a cell.
        size: of the network.
        config: the schedule.
        on_step: called with the number of steps done, the averaged network and the losses, in nats
            per crystal: ``spacegroup`` and ``orbits``, and the absolute error of the log
            ``metric``, summed; may raise to stop.
        path: the file from which an interrupted run resumes; None: no file.
        checkpoint_seconds: time between two checkpoints.

    Raises:
        DataError: the file is not a training state.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        prior = SitePrior(max_atoms, size)
    prior.fit_tables(data.spacegroup)
    optimizer = torch.optim.AdamW(
        prior.parameters(), config.learning_rate, weight_decay=config.weight_decay
    )
    trainer = Trainer(
        prior,
        optimizer,
        path,
        seed=config.seed,
        schedule=lambda step: one_cycle(step, config.steps, config.learning_rate),
        ema_decay=ema_decay(config.steps),
        max_norm=1.0,
        checkpoint_seconds=checkpoint_seconds,
    )
    average = trainer.result
    assert isinstance(average, SitePrior)
    while trainer.step < config.steps:
        rng = trainer.generator()
        rows = torch.randint(len(data), (config.batch_size,), generator=rng)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(trainer.step_seed)  # of the dropout, which takes no generator
            losses = {name: loss.mean() for name, loss in data.losses(prior, rows).items()}
        trainer.update(torch.stack(list(losses.values())).sum())
        trainer.save(now=trainer.step == config.steps)
        on_step(trainer.step, average, {name: float(x.detach()) for name, x in losses.items()})
    return average.eval().requires_grad_(False)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the tensor caches")
    parser.add_argument("--state", type=Path, required=True, help="folder of the run's state")
    parser.add_argument("--steps", type=int, default=SiteTrainConfig.steps)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    configure(options.threads)
    splits = {}
    for split in ("train", "val"):
        crystals = load_cache(options.data / f"{split}.safetensors").crystals
        sites = crystal_sites(crystals, options.data / f"{split}-sites.safetensors")
        splits[split] = SiteData.of(crystals, sites)
    rows = torch.arange(min(VALIDATION_CRYSTALS, len(splits["val"])))

    def on_step(step: int, average: SitePrior, losses: dict[str, float]) -> None:
        if step % LOG_EVERY:
            return
        with torch.no_grad():
            parts = [splits["val"].losses(average.eval(), part) for part in rows.split(256)]
        validation = {}
        for name in losses:
            loss = torch.cat([part[name] for part in parts])
            # The loss is infinite for a group that no training crystal has.
            validation[f"val_{name}"] = float(loss[loss.isfinite()].mean())
        append_row(options.state / "sites.csv", {"step": step, **losses, **validation})

    max_atoms = int(crystals.num_atoms.max())
    config = SiteTrainConfig(steps=options.steps)
    options.state.mkdir(parents=True, exist_ok=True)
    path = options.state / "site_prior.safetensors"
    fit_site_prior(splits["train"], max_atoms, SitePriorConfig(), config, on_step, path)


if __name__ == "__main__":
    main()
