"""Training of the prior over z, once the encoder is frozen; resumable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from cdvae.config import PriorConfig
from cdvae.prior.latent_prior import LatentPrior
from cdvae.training.schedule import one_cycle
from cdvae.training.trainer import CHECKPOINT_SECONDS, Trainer, ema_decay

FLOW_WEIGHT, COMPOSITION_WEIGHT = 1.0, 0.1


def fit_prior(
    mean: Tensor,
    counts: Tensor,
    max_atoms: int,
    config: PriorConfig,
    on_step: Callable[[int, dict[str, float]], None],
    path: Path | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> LatentPrior:
    """Return a prior trained on the posterior means of the training crystals.

    Args:
        mean: (N, D) posterior means of z of the training crystals.
        counts: (N, Z) their compositions.
        max_atoms: largest number of atoms in a cell.
        config: size and training of the prior.
        on_step: called with the number of steps done and the losses ``flow``, a squared error, and
            ``composition``, nats; may raise to stop.
        path: the file from which an interrupted run resumes; None: no file.
        checkpoint_seconds: time between two checkpoints.

    Raises:
        DataError: the file is not a training state.
        ValueError: there are fewer crystals or latent dimensions than components.
    """
    device = mean.device
    counts = counts.to(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        prior = LatentPrior(
            mean.shape[1], config.components, max_atoms, config.width, config.blocks
        )
    prior.to(device)
    prior.mean.copy_(mean.mean(0))
    prior.axes.copy_(_axes(mean - prior.mean, config.components))
    prior.composition.restrict_to(counts)
    trainer = Trainer(
        prior,
        torch.optim.AdamW(
            prior.parameters(), config.learning_rate, weight_decay=config.weight_decay
        ),
        path,
        seed=config.seed,
        schedule=lambda step: one_cycle(step, config.steps, config.learning_rate),
        ema_decay=ema_decay(config.steps),
        max_norm=1.0,
        checkpoint_seconds=checkpoint_seconds,
    )
    devices = [device] if device.type == "cuda" else []
    while trainer.step < config.steps:
        rng = trainer.generator()
        rows = torch.randint(len(counts), (config.batch_size,), generator=rng, device=device)
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(trainer.step_seed)  # dropout takes no generator
            flow = prior.flow_loss(mean[rows], counts[rows], rng)
            composition = -prior.composition.log_prob(counts[rows]).mean()
        trainer.update(FLOW_WEIGHT * flow + COMPOSITION_WEIGHT * composition)
        trainer.save(now=trainer.step == config.steps)
        losses = {"flow": float(flow.detach()), "composition": float(composition.detach())}
        on_step(trainer.step, losses)
    result = trainer.result
    assert isinstance(result, LatentPrior)
    return result.eval().requires_grad_(False)


def _axes(centred: Tensor, components: int) -> Tensor:
    """Return the principal axes (K, D) of ``centred`` (N, D); the lengths are the deviations."""
    n, dimensions = centred.shape
    if components > min(n, dimensions):
        raise ValueError(f"{components} components for {n} latents with {dimensions} dimensions")
    _, lengths, directions = torch.linalg.svd(centred, full_matrices=False)
    deviations = (lengths / n**0.5).clamp(min=1e-6 * float(lengths[0]))
    return (deviations[:, None] * directions)[:components]
