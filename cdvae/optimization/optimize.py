"""Search for crystals with a better property: gradients along the prior, checked by decoding.

The gradient of a property head on z leaves the latents that the encoder makes of crystals, and the
head is wrong there (Xie et al. 2022, section 5.3, follow it all the same). Here z moves in the
coordinates of the prior, a composition and the noise that the flow carries to z, where every point
is a latent like those of the data. After each move the crystal is decoded and encoded again; the
head's value there decides whether the search goes on from it and, beside what the head had
predicted, how far the next move may go.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cdvae.diffusion.samplers.sampler import OnLevel
from cdvae.inference import SamplerSpec
from cdvae.inference.initial_state import read_counts
from cdvae.model_folder import TrainedModel
from cdvae.nn.encoder import Latents
from cdvae.optimization.composition_filter import Admission
from cdvae.optimization.objective import Objective, goal_of
from cdvae.optimization.search import Search
from cdvae.optimization.trajectory import Optimized, Work
from cdvae.optimization.trust_region import Trust

DECODINGS = 11
"""Of each start, at most: itself, then one after each move; as many as in the paper's code."""
STEPS, LEARNING_RATE = 200, 0.1
"""Gradient steps, and the rate of Adam, that serve all three data sets (docs/lab-notebook/2026-11.md)."""
TRUST_RADIUS = 0.8
"""First bound of the gradient steps of one move: root mean square, in units of the noise."""
PATIENCE = 4
"""Moves without progress after which a search is over."""


def optimize(
    model: TrainedModel,
    latents: Latents,
    seeds: Sequence[int],
    sampler: SamplerSpec,
    *,
    objectives: Sequence[Objective],
    steps: int = STEPS,
    learning_rate: float = LEARNING_RATE,
    trust_radius: float = TRUST_RADIUS,
    patience: int | None = PATIENCE,
    admission: Admission | None = None,
    on_step: OnLevel | None = None,
) -> Optimized:
    """Crystals with better properties, found from each start on its own.

    A move takes the incumbent's composition c and noise x, follows the gradient of the objectives
    along x with Adam within a trust radius, then picks the composition, c or one a few changes
    away, whose latent is best (`search.reach`). The crystal decoded from it replaces the incumbent
    if it is valid and the heads find it better once encoded again; where it does not, that
    composition is not tried again. See `search.trust` for the radius and the end.

    Args:
        model: the trained model.
        latents: of B starts; with codes the first decoding is the given crystal itself.
        seeds: one a start.
        sampler: of every decoding.
        objectives: what shall become better.
        steps: gradient steps in all, shared among the moves.
        learning_rate: of Adam, in units of the noise.
        trust_radius: how far the gradient steps of the first move may go, root mean square.
        patience: moves without progress after which a start is left; None: never.
        admission: which compositions the crystals may have; a start that has another one begins at
            the nearest one that they may. None: all.
        on_step: called with (units of work done, in all) after every gradient step and noise level;
            may raise to stop.

    Raises:
        ValueError: the objectives or the sampler are impossible, see :func:`goal_of`.
    """
    goal = goal_of(model, objectives)
    counts = read_counts(model.network.heads, latents.z).to(latents.z.dtype)
    if admission is not None:
        latents, counts = admission.admit(latents, counts, seeds)
    allowed = _all if admission is None else admission.allows
    trusts = [Trust(trust_radius, patience) for _ in seeds]
    search = Search(model, goal, latents.z, counts, seeds, sampler, trusts, allowed)
    moves = DECODINGS - 1
    gradient_steps = [0, *(steps // moves + (i < steps % moves) for i in range(moves))]
    work = Work(gradient_steps, search.nfe, on_step)
    for number, share in enumerate(gradient_steps):
        live = [row for row, trust in enumerate(trusts) if not trust.over]
        if not live:
            break
        proposed = latents
        if number:
            proposed = Latents.of(search.propose(live, share, learning_rate, work))
        search.decode(live, proposed, number, work)
    work.finished()
    return Optimized(search.paths, search.taken)


def _all(counts: Tensor) -> Tensor:
    return counts.new_ones(len(counts), dtype=torch.bool)
