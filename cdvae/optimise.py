"""Search for crystals with a better property: gradients along the prior, checked by decoding.

The gradient of a property head on z leaves the latents that the encoder makes of crystals, and the
head is wrong there (Xie et al. 2022, section 5.3, follow it all the same). Here z moves in the
coordinates of the prior, a composition and the noise that the flow carries to z, where every point
is a latent like those of the data. After each move the crystal is decoded and encoded again, and
the head's value there decides whether the search goes on from it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from cdvae.crystal import element_counts
from cdvae.data.structures import to_structures
from cdvae.metrics.validity import structure_valid
from cdvae.model.encoder import Latents
from cdvae.pipeline import SamplerSpec, crystal_seed, decode_finite, encode, score_evaluations
from cdvae.sampling.protocol import OnLevel
from cdvae.sampling.start import read_counts
from cdvae.search.goal import Direction, Goal, goal_of
from cdvae.search.record import Optimised, Path, Work
from cdvae.search.substitution import Composition, key, neighbours, neutral, promising
from cdvae.trained import TrainedModel

DECODINGS = 11
"""Of each start: itself, then one after each move; as many as in the paper's code."""
CANDIDATES = 16
"""Compositions that a move weighs exactly, the best ones to first order."""
PRIOR_MARGIN = 4.0
"""Nats that a composition may be less likely than that of the start."""
RADIUS = 0.2
"""First bound of the gradient steps of one move: root mean square, in units of the noise."""
GROW, SHRINK = 1.5, 0.5
FLOW_STEPS = 5
"""Of Heun's method where the flow is differentiated or many compositions are weighed."""


def optimise(
    model: TrainedModel,
    latents: Tensor,
    seeds: Sequence[int],
    sampler: SamplerSpec,
    *,
    prop: str,
    direction: Direction,
    value: float | None,
    steps: int,
    learning_rate: float,
    on_step: OnLevel | None = None,
) -> Optimised:
    """Crystals with a better property, found from each start on its own.

    A move takes the incumbent's composition c and noise x, follows the gradient of the property
    along x with Adam within a trust radius, then picks the composition one change away (or c) whose
    latent has the best property, the gradient by c having chosen which ones to weigh. The crystal
    decoded from it replaces the incumbent if it is valid and the head finds it better once encoded
    again; the radius then grows, else it shrinks and that composition is not tried again.

    Args:
        model: the trained model.
        latents: (B, D) starts.
        seeds: one a start.
        sampler: of every decoding.
        prop: one of ``model.properties``.
        direction: lower, higher, or as near as possible to ``value`` (in the card's units).
        value: needed for "target" and for nothing else.
        steps: gradient steps in all, shared among the moves.
        learning_rate: of Adam, in units of the noise.
        on_step: called with (units of work done, in all) after every gradient step and noise level;
            may raise to stop.

    Raises:
        ValueError: the property, the direction or the sampler is unknown, or ``value`` does not
            go with the direction.
    """
    goal = goal_of(model, prop, direction, value)
    search = _Search(model, goal, latents, seeds, sampler)
    moves = DECODINGS - 1
    gradient_steps = [0, *(steps // moves + (i < steps % moves) for i in range(moves))]
    work = Work(gradient_steps, search.evaluations, on_step)
    for number, share in enumerate(gradient_steps):
        proposed = search.propose(share, learning_rate, work) if number else latents
        search.decode(proposed, number, work)
    return Optimised(search.paths, search.taken)


class _Search:
    """Incumbents of B starts, in the coordinates of the prior."""

    def __init__(
        self,
        model: TrainedModel,
        goal: Goal,
        latents: Tensor,
        seeds: Sequence[int],
        sampler: SamplerSpec,
    ) -> None:
        self.model, self.goal, self.seeds, self.sampler = model, goal, seeds, sampler
        self.evaluations = score_evaluations(model, sampler)
        self.taken = torch.zeros(len(seeds), dtype=torch.long)
        self.paths = [Path() for _ in seeds]
        self.counts = read_counts(model.network.heads, latents).to(latents.dtype)  # (B, Z)
        self.noise = self._noise_of(latents, self.counts)  # (B, D)
        self.radius = latents.new_full((len(seeds), 1), RADIUS * latents.shape[1] ** 0.5)
        self.floor = (model.prior.composition.log_prob(self.counts) - PRIOR_MARGIN).tolist()
        self.taboo: list[set[Composition]] = [set() for _ in seeds]
        self.proposed = self.counts

    @torch.no_grad()
    def _noise_of(self, latents: Tensor, counts: Tensor) -> Tensor:
        return self.model.prior.noise_of(latents, counts)

    def propose(self, steps: int, learning_rate: float, work: Work) -> Tensor:
        """(B, D) the latents to decode next."""
        noise = self._descend(steps, learning_rate, work)
        return self._substitute(noise)

    def _predict(self, noise: Tensor, counts: Tensor) -> Tensor:
        return self.goal.read(self.model.prior.transport(noise, counts, FLOW_STEPS))

    def _descend(self, steps: int, learning_rate: float, work: Work) -> Tensor:
        """(B, D) noise after ``steps`` of Adam that stay within the radius of the incumbents."""
        noise = self.noise.clone().requires_grad_(True)
        adam = torch.optim.Adam([noise], lr=learning_rate)
        for _ in range(steps):
            adam.zero_grad(set_to_none=True)
            self.goal.badness(self._predict(noise, self.counts)).sum().backward()
            adam.step()
            with torch.no_grad():
                way = noise - self.noise
                length = way.norm(dim=1, keepdim=True).clamp(min=1e-12)
                noise.copy_(self.noise + way * (self.radius / length).clamp(max=1))
            work.step()
        return noise.detach()

    def _substitute(self, noise: Tensor) -> Tensor:
        """(B, D) latents at ``noise`` with the best composition for each; sets ``proposed``."""
        counts = self.counts.clone().requires_grad_(True)
        here = self._predict(noise, counts)
        (slope,) = torch.autograd.grad(here.sum(), counts)
        with torch.no_grad():
            prior = self.model.prior.composition
            shortlists = []
            for i, own in enumerate(self.counts):
                near = neighbours(own, prior)
                expected = here[i] + (near - own) @ slope[i]
                order = self.goal.badness(expected).argsort(stable=True)
                shortlists.append(
                    promising(own, order, near, prior, self.floor[i], self.taboo[i], CANDIDATES)
                )
            sizes = [len(shortlist) for shortlist in shortlists]
            candidates = torch.cat(shortlists)
            owner = torch.arange(len(sizes), device=noise.device).repeat_interleave(
                torch.tensor(sizes, device=noise.device)
            )
            latents = self.model.prior.transport(noise[owner], candidates, FLOW_STEPS)
            badness = self.goal.badness(self.goal.read(latents))
            # A latent that the heads read as another composition comes after all that keep theirs.
            other = (read_counts(self.model.network.heads, latents) != candidates).any(1)
            badness = badness + other * 1e6
            chosen = [int(part.argmin()) for part in badness.split(sizes)]
            self.proposed = torch.stack(
                [rows[best] for rows, best in zip(shortlists, chosen, strict=True)]
            )
            return self.model.prior.transport(noise, self.proposed)

    @torch.no_grad()
    def decode(self, latents: Tensor, number: int, work: Work) -> None:
        """Decodes ``latents`` (B, D); where the crystal is better, it becomes the incumbent."""
        model = self.model
        seeds = [crystal_seed(seed, number) for seed in self.seeds]
        rows, decoded = decode_finite(model, Latents.of(latents), seeds, self.sampler, work.level)
        work.decoded()
        better = dict.fromkeys(range(len(seeds)), False)
        if decoded is not None:
            self.taken[rows] += decoded.score_evaluations
            crystals = decoded.crystals.to(model.device)
            again = encode(model, crystals).z.mean
            counts = element_counts(crystals)
            read = self.goal.read(again)
            badness, values = self.goal.badness(read).tolist(), self.goal.in_units(read).tolist()
            noise = self._noise_of(again, counts)
            parts = zip(rows, decoded.crystals.split(), to_structures(crystals), strict=True)
            for place, (row, crystal, structure) in enumerate(parts):
                valid = structure_valid(structure) and neutral(key(counts[place]))
                better[row] = self.paths[row].add(crystal, valid, badness[place], values[place])
                if better[row]:
                    self.counts[row], self.noise[row] = counts[place], noise[place]
        for row in set(range(len(seeds))) - set(rows):
            self.paths[row].add(None, False, math.inf, math.nan)
        for row, improved in better.items():
            self.radius[row] *= GROW if improved else SHRINK
            if not improved:
                self.taboo[row].add(key(self.proposed[row]))
