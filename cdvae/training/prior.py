"""Fit of the prior over z, after the autoencoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from cdvae.model.encoder import Latent
from cdvae.model.prior import FlowPrior


@dataclass(frozen=True)
class PriorConfig:
    """Size and training of the flow over z."""

    width: int = 256
    blocks: int = 4
    steps: int = 6000
    batch_size: int = 256
    learning_rate: float = 1e-3
    seed: int = 0


def fit_prior(
    posterior: Latent, config: PriorConfig, on_step: Callable[[int, float], None]
) -> FlowPrior:
    """A flow trained on draws from the posterior of every training crystal.

    Args:
        posterior: mean and logvar (N, D) of the training crystals.
        config: size and schedule.
        on_step: called with the number of steps done and the last loss.
    """
    device = posterior.mean.device
    rng = torch.Generator(device).manual_seed(config.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        flow = FlowPrior(posterior.mean.shape[1], config.width, config.blocks).to(device)
    spread = posterior.logvar.exp().mean(0) + posterior.mean.var(0)
    flow.mean.copy_(posterior.mean.mean(0))
    flow.std.copy_(spread.sqrt())
    average = AveragedModel(flow, multi_avg_fn=get_ema_multi_avg_fn(0.999))
    optimiser = torch.optim.AdamW(flow.parameters(), config.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.learning_rate, total_steps=config.steps, pct_start=0.05
    )
    for step in range(config.steps):
        rows = torch.randint(
            len(posterior.mean), (config.batch_size,), generator=rng, device=device
        )
        z = Latent(posterior.mean[rows], posterior.logvar[rows]).sample(rng)
        loss = flow.loss(z, rng)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        average.update_parameters(flow)
        on_step(step + 1, float(loss.detach()))
    result: FlowPrior = average.module
    return result.eval().requires_grad_(False)
