"""Crystals per second in training, and the parts of a step.

    python -m benchmarks.speed.training_speed [--config configs/perov-5.toml] [--steps 10]

The script trains on made-up perovskites, so it needs no data set. A step has three parts: loss
(encoder, heads, decoder on each noisy copy), gradients, optimizer. `--compile` compiles the
networks, as training does with `compile = true`. The numbers are medians; the first two steps are
left out.
"""

from __future__ import annotations

import statistics
from pathlib import Path

import torch

from benchmarks.speed.timing import ROOT, arguments, emit, timed
from cdvae.compute import configure
from cdvae.config import load_config
from cdvae.diffusion.noise import NoiseSchedule
from cdvae.nn.autoencoder import CDVAE
from cdvae.testing import perovskites
from cdvae.training.loss import Corruption, LossTerms, compute_loss

WARM = 2


def main() -> None:
    """Print the rate and the parts of a step."""
    options = arguments(
        __doc__ or "", config="configs/perov-5.toml", steps=10, threads=1, compile=False
    )
    configure(options.threads)
    config = load_config(ROOT / Path(options.config))
    settings = config.optimizer
    data = perovskites(settings.batch_size)
    values = data.properties[:, : len(config.model.properties)]
    model = CDVAE(config.model)
    model.heads.fit_scalers(data.crystals, values)
    if options.compile:
        for network in (model.encoder.backbone, model.decoder.backbone):
            setattr(network, "interact", torch.compile(network.interact))  # noqa: B010
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    schedule = NoiseSchedule(config.model.sigma_max, config.model.sigma_min)
    corruption = Corruption(
        schedule, settings.noise_draws_per_crystal, settings.atom_latent_dropout
    )
    rng = torch.Generator().manual_seed(0)
    losses: list[LossTerms] = []
    parts: dict[str, list[float]] = {"loss": [], "gradients": [], "optimizer": []}
    walls: list[float] = []
    for step in range(WARM + options.steps):
        optimizer.zero_grad(set_to_none=True)
        losses.clear()
        seconds = {
            "loss": timed(
                lambda: losses.append(compute_loss(model, data.crystals, values, corruption, rng))
            ),
            "gradients": timed(lambda: losses[0].total(config.loss).backward()),
            "optimizer": timed(optimizer.step),
        }
        if step >= WARM:
            walls.append(sum(part.wall for part in seconds.values()))
            for name, part in seconds.items():
                parts[name].append(part.cpu)
    cpu = {name: statistics.median(own) for name, own in parts.items()}
    batch = settings.batch_size
    figures = {
        "config": options.config,
        "batch": batch,
        "noise_draws_per_crystal": settings.noise_draws_per_crystal,
        "threads": options.threads,
        "compiled": options.compile,
        "crystals_a_second": round(batch / statistics.median(walls), 1),
        "crystals_a_cpu_second": round(batch / sum(cpu.values()), 1),
        "cpu_ms_a_step": {name: round(1000 * value, 1) for name, value in cpu.items()},
    }
    emit(figures, options.out)


if __name__ == "__main__":
    main()
