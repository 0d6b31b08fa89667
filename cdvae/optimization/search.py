"""Incumbents of several searches, and the moves that make them better."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from cdvae.data.structures import to_structures
from cdvae.geometry.crystal import element_counts
from cdvae.inference import SamplerSpec, crystal_seed, decode_finite, encode, max_nfe
from cdvae.inference.fixed_attributes import FixedAttributes
from cdvae.metrics.validity import structure_valid
from cdvae.model_folder import TrainedModel
from cdvae.nn.encoder import Latents
from cdvae.optimization.composition_search import Allowed, Reach
from cdvae.optimization.objective import Goal
from cdvae.optimization.substitution import Composition, key, neutral
from cdvae.optimization.trajectory import Path, Work
from cdvae.optimization.trust_region import Trust

PRIOR_MARGIN = 12.0
"""Nats that a composition may be less likely than that of the start."""


class Search:
    """Incumbents of B starts, in the coordinates of the prior."""

    def __init__(
        self,
        model: TrainedModel,
        goal: Goal,
        latents: Tensor,
        counts: Tensor,
        seeds: Sequence[int],
        sampler: SamplerSpec,
        trusts: Sequence[Trust],
        allowed: Allowed,
    ) -> None:
        self.model, self.goal, self.seeds, self.sampler = model, goal, seeds, sampler
        self.trusts, self.allowed = trusts, allowed
        self.reach = Reach(model, goal, allowed)
        self.nfe = max_nfe(model, sampler)
        self.taken = torch.zeros(len(seeds), dtype=torch.long)
        self.paths = [Path() for _ in seeds]
        self.counts = counts.clone()  # (B, Z)
        self.noise = self._noise_of(latents, self.counts)  # (B, K)
        self.floor = (model.prior.composition.log_prob(self.counts) - PRIOR_MARGIN).tolist()
        self.tabu: list[set[Composition]] = [set() for _ in seeds]
        self.proposed = self.counts.clone()
        self.predicted = [math.inf for _ in seeds]  # cost of what is decoded next

    @torch.no_grad()
    def _noise_of(self, latents: Tensor, counts: Tensor) -> Tensor:
        return self.model.prior.invert(latents, counts)

    def propose(self, live: list[int], steps: int, learning_rate: float, work: Work) -> Tensor:
        """(L, D) the latents to decode next for the starts ``live``."""
        noise = self._descend(live, steps, learning_rate, work)
        return self._substitute(live, noise)

    def _predict(self, noise: Tensor, counts: Tensor) -> Tensor:
        return self.goal.read(self.model.prior.sample_from_noise(noise, counts))

    def _descend(self, live: list[int], steps: int, learning_rate: float, work: Work) -> Tensor:
        """(L, K) noise after ``steps`` of Adam that stay within the radius of the incumbents."""
        start, counts = self.noise[live], self.counts[live]
        radius = start.new_tensor([[self.trusts[row].radius] for row in live])
        radius = radius * start.shape[1] ** 0.5
        noise = start.clone().requires_grad_(True)
        adam = torch.optim.Adam([noise], lr=learning_rate)
        for _ in range(steps):
            adam.zero_grad(set_to_none=True)
            self.goal.cost(self._predict(noise, counts)).sum().backward()
            adam.step()
            with torch.no_grad():
                way = noise - start
                length = way.norm(dim=1, keepdim=True).clamp(min=1e-12)
                noise.copy_(start + way * (radius / length).clamp(max=1))
            work.step()
        return noise.detach()

    def _substitute(self, live: list[int], noise: Tensor) -> Tensor:
        """(L, D) latents at ``noise`` (L, K) with the best composition for each, now proposed."""
        floors, taboos = [self.floor[row] for row in live], [self.tabu[row] for row in live]
        chosen = self.reach.best(noise, self.counts[live], floors, taboos)
        self.proposed[live] = chosen
        with torch.no_grad():
            latents = self.model.prior.sample_from_noise(noise, chosen)
            predicted = self.goal.cost(self.goal.read(latents)).tolist()
        for row, promise in zip(live, predicted, strict=True):
            self.predicted[row] = promise
        return latents

    @torch.no_grad()
    def decode(self, live: list[int], latents: Latents, number: int, work: Work) -> None:
        """Decodes the L ``latents``; where the crystal is better, it becomes the incumbent."""
        model = self.model
        seeds = [crystal_seed(self.seeds[row], number) for row in live]
        # Codes say which elements their atoms are; without them it is as the search wants it.
        has_atom_latents = (latents.num_atom_latents > 0).tolist()
        fixed = [
            None if own else FixedAttributes(self.proposed[row])
            for own, row in zip(has_atom_latents, live, strict=True)
        ]
        places, decoded = decode_finite(model, latents, seeds, self.sampler, work.level, fixed)
        work.decoded()
        before = {row: self.paths[row].cost if self.paths[row].valid else math.inf for row in live}
        better = dict.fromkeys(live, False)
        if decoded is not None:
            self.taken[[live[place] for place in places]] += decoded.nfe
            crystals = decoded.crystals.to(model.device)
            again = encode(model, crystals).z.mean
            counts = element_counts(crystals)
            read = self.goal.read(again)
            cost, values = self.goal.cost(read).tolist(), self.goal.in_units(read).tolist()
            noise = self._noise_of(again, counts)
            permitted = self.allowed(counts).tolist()
            parts = zip(places, decoded.crystals.split(), to_structures(crystals), strict=True)
            for at, (place, crystal, structure) in enumerate(parts):
                row = live[place]
                if not permitted[at]:
                    self.paths[row].add(None, False, math.inf, ())
                    continue
                valid = structure_valid(structure) and neutral(key(counts[at]))
                better[row] = self.paths[row].add(crystal, valid, cost[at], tuple(values[at]))
                if better[row]:
                    self.counts[row], self.noise[row] = counts[at], noise[at]
        for place in set(range(len(live))) - set(places):
            self.paths[live[place]].add(None, False, math.inf, ())
        for row, improved in better.items():
            if not improved:
                self.tabu[row].add(key(self.proposed[row]))
            if number:
                after = self.paths[row].cost
                self.trusts[row].moved(before[row], self.predicted[row], after, improved)
