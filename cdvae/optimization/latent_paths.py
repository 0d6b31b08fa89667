"""Paths through the latent space: between two crystals, and around one.

A straight line in z leads away from the latents that the encoder produces. Paths therefore use the
coordinates of the prior: a composition, and the noise that the flow carries to z. Noise is normal
in many dimensions, where all points lie near a sphere; the paths stay on it.
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
"""Steps of Heun's method: enough for an inverted latent to be restored."""


@torch.no_grad()
def interpolate_latents(
    model: TrainedModel, crystals: CrystalBatch, z: Tensor, positions: Sequence[float]
) -> Tensor:
    """Return latents (N, D) on the path from the first to the second of two crystals.

    The noise rotates from that of the first crystal to that of the second at a constant rate. The
    composition changes atom by atom, each time to the likeliest one under the prior that passes
    the check of SMACT, or to the likeliest one if none passes.

    Args:
        model: the trained model.
        crystals: two crystals.
        z: (2, D) their latents, which positions 0 and 1 return exactly.
        positions: N numbers in [0, 1].

    Raises:
        ValueError: there are not two crystals.
    """
    if len(crystals) != 2 or len(z) != 2:
        raise ValueError(f"{len(crystals)} crystals and {len(z)} latents; a path has two ends")
    counts = element_counts(crystals)
    noise = _flow_rows(model.prior.invert, z, counts)
    steps = composition_path(counts[0], counts[1], model.prior.composition)
    compositions = [_composition_at(steps, position) for position in positions]
    turned = torch.stack([slerp(noise[0], noise[1], position) for position in positions])
    latents = _flow_rows(model.prior.sample_from_noise, turned, torch.stack(compositions))
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
    """Return latents (N, D) near that of one crystal, one for each seed.

    The noise x becomes √(1 − s²) x + s ε for a standard normal ε, which is a draw of the prior like
    x. The composition makes a binomial number of steps, with one trial of probability s for each
    element; each step is drawn from the prior among the compositions one change away.

    Args:
        model: the trained model.
        crystal: one crystal.
        z: (1, D) its latent.
        strength: s in [0, 1]; 0 returns z projected onto the axes of the prior, 1 a draw of it.
        seeds: one for each variation.
        keep_composition: whether the composition stays as it is.

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
    """Return the RMS difference (B,) of latents (B, D), in units of their spread in the data."""
    difference = model.prior.coordinates(z) - model.prior.coordinates(other)
    return difference.square().mean(-1).sqrt()


def slerp(start: Tensor, end: Tensor, position: float) -> Tensor:
    """Return the spherical interpolation (D,) of vectors (D,); the length changes linearly."""
    length = (1 - position) * start.norm() + position * end.norm()
    angle = torch.nn.functional.cosine_similarity(start, end, dim=0).clamp(-1, 1).arccos()
    if angle < 1e-4:
        return (1 - position) * start + position * end
    way = ((1 - position) * angle).sin() * start / start.norm()
    way = way + (position * angle).sin() * end / end.norm()
    return way / way.norm() * length


def composition_path(start: Tensor, end: Tensor, prior: CompositionPrior) -> list[Tensor]:
    """Return compositions (Z,) from ``start`` to ``end``; each step changes one atom."""
    path = [start]
    while not torch.equal(path[-1], end):
        here = path[-1]
        surplus, missing = (here - end).clamp(min=0), (end - here).clamp(min=0)
        one = torch.eye(len(here), dtype=here.dtype, device=here.device)
        less = [-one[place] for place in surplus.nonzero().flatten()]
        more = [one[place] for place in missing.nonzero().flatten()]
        # If the cells hold different numbers of atoms, some atoms are added or removed.
        exchanges = [a + b for a, b in itertools.product(less, more)]
        steps = exchanges or less or more
        nearer = torch.stack([here + step for step in steps])
        order = prior.log_prob(nearer).argsort(descending=True, stable=True).tolist()
        path.append(nearer[next((row for row in order if neutral(key(nearer[row]))), order[0])])
    # Compositions with a number of atoms that the model does not know are skipped.
    inner = [counts for counts in path[1:-1] if prior.sizes[int(counts.sum())]]
    return [start, *inner, end] if len(path) > 1 else path


def _composition_at(steps: Sequence[Tensor], position: float) -> Tensor:
    """Return the composition at a position; each composition takes the same share of the path."""
    return steps[round(position * (len(steps) - 1))]


def step_compositions(
    counts: Tensor, prior: CompositionPrior, steps: int, rng: torch.Generator
) -> Tensor:
    """Return ``counts`` (Z,) after ``steps`` draws of a neutral neighbor from the prior."""
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
    """Return ``flow`` of each row; the bits of a row do not depend on the other rows."""
    every = pad_to_multiple(range(len(rows)))
    return flow(rows[every], counts[every], FLOW_STEPS)[: len(rows)]
