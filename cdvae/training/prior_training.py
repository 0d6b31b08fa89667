"""Fit of the prior over z, once the encoder is fixed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from cdvae.config import PriorConfig
from cdvae.prior.latent_prior import LatentPrior

WEIGHTS = {"flow": 1.0, "composition": 0.1}


def fit_prior(
    mean: Tensor,
    counts: Tensor,
    max_atoms: int,
    config: PriorConfig,
    on_step: Callable[[int, dict[str, float]], None],
) -> LatentPrior:
    """A prior trained on the posterior means of the training crystals.

    Args:
        mean: (N, D) of the posterior over z of each training crystal.
        counts: (N, Z) their compositions.
        max_atoms: largest cell that the model makes.
        config: size and schedule.
        on_step: called with the number of steps done and the losses: ``flow``,
            a squared error, and ``composition``, nats.

    Raises:
        ValueError: there are fewer crystals or latent dimensions than components.
    """
    device = mean.device
    counts = counts.to(device)
    rng = torch.Generator(device).manual_seed(config.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        prior = LatentPrior(
            mean.shape[1], config.components, max_atoms, config.width, config.blocks
        )
    prior.to(device)
    prior.mean.copy_(mean.mean(0))
    prior.axes.copy_(_axes(mean - prior.mean, config.components))
    prior.composition.restrict_to(counts)
    # The average looks back over a tenth of the run, at most over a thousand steps.
    decay = min(0.999, max(0.0, 1 - 10 / config.steps))
    average = AveragedModel(prior, multi_avg_fn=get_ema_multi_avg_fn(decay))
    optimizer = torch.optim.AdamW(
        prior.parameters(), config.learning_rate, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=config.steps, pct_start=0.05
    )
    for step in range(config.steps):
        rows = torch.randint(len(counts), (config.batch_size,), generator=rng, device=device)
        losses = {
            "flow": prior.flow_loss(mean[rows], counts[rows], rng),
            "composition": -prior.composition.log_prob(counts[rows]).mean(),
        }
        optimizer.zero_grad(set_to_none=True)
        sum(WEIGHTS[name] * loss for name, loss in losses.items()).backward()
        torch.nn.utils.clip_grad_norm_(prior.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average.update_parameters(prior)
        on_step(step + 1, {name: float(loss.detach()) for name, loss in losses.items()})
    result: LatentPrior = average.module
    return result.eval().requires_grad_(False)


def _axes(centred: Tensor, components: int) -> Tensor:
    """(K, D) the principal axes of ``centred`` (N, D), each as long as the deviation along it."""
    n, dimensions = centred.shape
    if components > min(n, dimensions):
        raise ValueError(f"{components} components of {n} latents of {dimensions} dimensions")
    _, lengths, directions = torch.linalg.svd(centred, full_matrices=False)
    deviations = (lengths / n**0.5).clamp(min=1e-6 * float(lengths[0]))
    return (deviations[:, None] * directions)[:components]
