"""Search for crystals with better properties: gradients along the prior, checked by decoding.

The gradient of a property head with respect to z leads away from the latents that the encoder
produces, and the head is wrong there (Xie et al. 2022, section 5.3, follow this gradient). Here z
moves in the coordinates of the prior instead: a composition and the noise that the flow carries to
z. Every point in these coordinates is a latent like those of the data. After each step the crystal
is decoded and encoded again. The value of the head for that latent decides whether the search
continues from there; the ratio to the predicted gain sets the size of the next step.
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
from cdvae.optimization.composition_filter import CompositionFilter
from cdvae.optimization.objective import PropertyObjective, combine_objectives
from cdvae.optimization.search import Search
from cdvae.optimization.trajectory import SearchProgress, SearchResult
from cdvae.optimization.trust_region import TrustRegion

DECODINGS = 11
"""Most decodings of each start: itself and one after each step, as in the paper's code."""
STEPS, LEARNING_RATE = 200, 0.1
"""Gradient steps and learning rate of Adam that work for all three data sets."""
TRUST_RADIUS = 0.8
"""Initial radius of the trust region: root mean square, in units of the noise."""
PATIENCE = 4
"""Steps without progress after which a search stops."""


def optimize(
    model: TrainedModel,
    latents: Latents,
    seeds: Sequence[int],
    sampler: SamplerSpec,
    *,
    objectives: Sequence[PropertyObjective],
    steps: int = STEPS,
    learning_rate: float = LEARNING_RATE,
    trust_radius: float = TRUST_RADIUS,
    patience: int | None = PATIENCE,
    composition_filter: CompositionFilter | None = None,
    on_step: OnLevel | None = None,
) -> SearchResult:
    """Return crystals with better properties, found independently from each start.

    A step of the search takes the incumbent's composition c and noise x, follows the gradient of
    the objectives along x with Adam within a trust region, then picks the composition with the best
    latent: c or one that is a few changes away. The decoded crystal replaces the incumbent if it is
    valid and the heads find it better after encoding it again; otherwise its composition becomes
    tabu.

    Args:
        model: the trained model.
        latents: of B starts; with atom latents the first decoding is the given crystal itself.
        seeds: one for each start.
        sampler: of every decoding.
        objectives: the properties to improve.
        steps: gradient steps in total, divided evenly among the steps of the search.
        learning_rate: of Adam, in units of the noise.
        trust_radius: initial radius of the trust region, root mean square.
        patience: steps without progress after which a search stops; None: it never stops.
        composition_filter: accepts the compositions that the crystals may have; a start with
            another composition begins at the nearest allowed one. None: all are allowed.
        on_step: called with (units of work done, in total) after every gradient step and noise
            level; may raise to stop.

    Raises:
        ValueError: the objectives (see :func:`combine_objectives`) or the sampler are invalid.
    """
    objective = combine_objectives(model, objectives)
    counts = read_counts(model.network.heads, latents.z).to(latents.z.dtype)
    if composition_filter is not None:
        latents, counts = composition_filter.project(latents, counts, seeds)
    allowed = _allow_all if composition_filter is None else composition_filter.allows
    search = Search(model, objective, sampler, allowed)
    moves = DECODINGS - 1
    gradient_steps = [0, *(steps // moves + (i < steps % moves) for i in range(moves))]
    progress = SearchProgress(gradient_steps, search.nfe_per_decoding, on_step)
    trusts = [TrustRegion(trust_radius, patience) for _ in seeds]
    proposal = search.start(latents, counts, seeds, trusts)
    for number, share in enumerate(gradient_steps):
        rows = search.live()
        if not rows:
            break
        if number:
            proposal = search.propose(rows, share, learning_rate, progress)
        search.decode(rows, proposal, number, progress)
    progress.finish()
    return search.result()


def _allow_all(counts: Tensor) -> Tensor:
    return counts.new_ones(len(counts), dtype=torch.bool)
