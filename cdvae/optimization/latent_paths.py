"""Walks through the latent space: from one crystal to another, and around one.

A straight line in z leaves the latents that the encoder makes of crystals, so a walk goes in the
coordinates of the prior: a composition and the noise that the flow carries to z. Noise is normal in
many dimensions, where all points lie near a sphere; walks stay on it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cdvae.geometry.crystal import CrystalBatch, element_counts
from cdvae.inference import crystal_seed
from cdvae.inference.bucketing import pad_to_multiple
from cdvae.model_folder import TrainedModel
from cdvae.optimization.substitution import key, neighbors, neutral
from cdvae.prior.composition_prior import CompositionPrior

FLOW_STEPS = 25
"""Of Heun's method, there and back: enough for a latent to come back to itself."""


@torch.no_grad()
def interpolate_latents(
    model: TrainedModel, crystals: CrystalBatch, z: Tensor, positions: Sequence[float]
) -> Tensor:
    """(N, D) latents on the way from the first to the second of two crystals.

    The noise turns from that of one crystal to that of the other at a constant rate. The
    composition goes atom by atom, each time to the one that the prior finds likeliest among those
    that pass the check of SMACT (among all where none does).

    Args:
        model: the trained model.
        crystals: the two.
        z: (2, D) their latents; positions 0 and 1 give them exactly.
        positions: N numbers in [0, 1].

    Raises:
        ValueError: there are not two crystals.
    """
    if len(crystals) != 2 or len(z) != 2:
        raise ValueError(f"{len(crystals)} crystals and {len(z)} latents; a walk has two ends")
    counts = element_counts(crystals)
    noise = _flow_rows(model.prior.invert, z, counts)
    steps = composition_path(counts[0], counts[1], model.prior.composition)
    own = [_composition_at(steps, position) for position in positions]
    turned = torch.stack([slerp(noise[0], noise[1], position) for position in positions])
    latents = _flow_rows(model.prior.sample_from_noise, turned, torch.stack(own))
    for row, position in enumerate(positions):
        if position in (0, 1):
            latents[row] = z[int(position)]
    return latents


@torch.no_grad()
def perturb_latents(
    model: TrainedModel,
    crystal: CrystalBatch,
    z: Tensor,
    strength: float,
    seeds: Sequence[int],
    keep_composition: bool,
) -> Tensor:
    """(N, D) latents near that of one crystal, one for each seed.

    The noise x becomes √(1 − s²) x + s ε for a standard normal ε: a draw of the prior as x is. The
    composition makes a number of steps, binomial with as many trials as there are elements and
    probability s; each step is drawn from the prior among those one change away.

    Args:
        model: the trained model.
        crystal: the one.
        z: (1, D) its latent.
        strength: s in [0, 1]; 0 gives z back along the axes of the prior, 1 forgets it.
        seeds: one a variation.
        keep_composition: no steps of the composition.

    Raises:
        ValueError: the strength is out of its range, or there is not one crystal.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength {strength} is not between 0 and 1")
    if len(crystal) != 1:
        raise ValueError(f"{len(crystal)} crystals to vary, not one")
    counts = element_counts(crystal)
    noise = _flow_rows(model.prior.invert, z, counts)
    moved, compositions = [], []
    for seed in seeds:
        rng = torch.Generator().manual_seed(crystal_seed(seed, 1))
        draw = torch.randn(noise.shape[1], generator=rng).to(noise)
        moved.append((1 - strength**2) ** 0.5 * noise[0] + strength * draw)
        trials = torch.rand(int((counts > 0).sum()), generator=rng) < strength
        changes = 0 if keep_composition else int(trials.sum())
        compositions.append(step_compositions(counts[0], model.prior.composition, changes, rng))
    return _flow_rows(model.prior.sample_from_noise, torch.stack(moved), torch.stack(compositions))


def distance(model: TrainedModel, z: Tensor, other: Tensor) -> Tensor:
    """(B,) root mean square difference of latents (B, D), in units of their spread in the data."""
    way = model.prior.coordinates(z) - model.prior.coordinates(other)
    return way.square().mean(-1).sqrt()


def slerp(start: Tensor, end: Tensor, position: float) -> Tensor:
    """(D,) between vectors (D,): their direction turns, their length changes evenly (slerp)."""
    length = (1 - position) * start.norm() + position * end.norm()
    angle = torch.nn.functional.cosine_similarity(start, end, dim=0).clamp(-1, 1).arccos()
    if angle < 1e-4:
        return (1 - position) * start + position * end
    way = ((1 - position) * angle).sin() * start / start.norm()
    way = way + (position * angle).sin() * end / end.norm()
    return way / way.norm() * length


def composition_path(start: Tensor, end: Tensor, prior: CompositionPrior) -> list[Tensor]:
    """Compositions (Z,) from ``start`` to ``end``; each step exchanges, adds or removes an atom."""
    path = [start]
    while not torch.equal(path[-1], end):
        here = path[-1]
        gone, wanted = (here - end).clamp(min=0), (end - here).clamp(min=0)
        one = torch.eye(len(here), dtype=here.dtype, device=here.device)
        less = [-one[place] for place in gone.nonzero().flatten()]
        more = [one[place] for place in wanted.nonzero().flatten()]
        # Atoms without a counterpart come or go where the cells hold different numbers of them.
        exchanges = [a + b for a, b in itertools.product(less, more)]
        steps = exchanges or less or more
        nearer = torch.stack([here + step for step in steps])
        order = prior.log_prob(nearer).argsort(descending=True, stable=True).tolist()
        path.append(nearer[next((row for row in order if neutral(key(nearer[row]))), order[0])])
    # Sizes that the model does not know are passed over.
    inner = [counts for counts in path[1:-1] if prior.sizes[int(counts.sum())]]
    return [start, *inner, end] if len(path) > 1 else path


def _composition_at(steps: Sequence[Tensor], position: float) -> Tensor:
    """The composition that belongs to a position: each takes as long as the others."""
    return steps[round(position * (len(steps) - 1))]


def step_compositions(
    counts: Tensor, prior: CompositionPrior, steps: int, rng: torch.Generator
) -> Tensor:
    """(Z,) ``counts`` (Z,) after so many steps, drawn from the prior among neutral neighbors."""
    for _ in range(steps):
        near = neighbors(counts, prior)
        noise = torch.rand(len(near), generator=rng).log().neg().log().neg().to(near)  # Gumbel
        order = (prior.log_prob(near) + noise).argsort(descending=True, stable=True).tolist()
        drawn = next((row for row in order if neutral(key(near[row]))), None)
        if drawn is None:
            break
        counts = near[drawn]
    return counts


def _flow_rows(
    flow: Callable[[Tensor, Tensor, int], Tensor], rows: Tensor, counts: Tensor
) -> Tensor:
    """``flow`` of each row; what is computed beside a row changes no bit of it."""
    every = pad_to_multiple(range(len(rows)))
    return flow(rows[every], counts[every], FLOW_STEPS)[: len(rows)]
