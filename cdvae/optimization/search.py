"""The search from several starts: propose a latent, decode it, keep the crystal if it is better."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cdvae.data.structures import to_structures
from cdvae.geometry.crystal import element_counts
from cdvae.inference import Decoded, SamplerSpec, crystal_seed, decode_finite, encode, max_nfe
from cdvae.inference.fixed_attributes import FixedAttributes
from cdvae.metrics.validity import structure_valid
from cdvae.model_folder import TrainedModel
from cdvae.nn.encoder import Latents
from cdvae.optimization.composition_search import Allowed, CompositionSearch
from cdvae.optimization.objective import CombinedObjective
from cdvae.optimization.substitution import Composition, key, neutral
from cdvae.optimization.trajectory import SearchProgress, SearchResult, Trajectory
from cdvae.optimization.trust_region import TrustRegion

PRIOR_MARGIN = 12.0
"""Nats by which a composition may be less likely under the prior than that of the start."""


@dataclass
class Incumbent:
    """The state of the search from one start."""

    seed: int
    counts: Tensor  # (Z,) composition of the best valid crystal so far, or of the start
    noise: Tensor  # (K,); the flow of the prior carries it to the latent of that crystal
    min_log_prob: float  # nats; less likely compositions are not proposed
    trust: TrustRegion
    trajectory: Trajectory = field(default_factory=Trajectory)
    tabu: set[Composition] = field(default_factory=set)
    nfe: int = 0


@dataclass(frozen=True)
class Proposal:
    """The latents to decode next for L starts."""

    latents: Latents
    counts: Tensor  # (L, Z)
    predicted: list[float]  # cost by the heads; infinite for the starts


class Search:
    """The searches from B starts, which do not influence each other."""

    def __init__(
        self,
        model: TrainedModel,
        objective: CombinedObjective,
        sampler: SamplerSpec,
        allowed: Allowed,
    ) -> None:
        self._model, self._objective = model, objective
        self._sampler, self._allowed = sampler, allowed
        self._compositions = CompositionSearch(model, objective, allowed)
        self._incumbents: list[Incumbent] = []
        self.nfe_per_decoding = max_nfe(model, sampler)

    def start(
        self,
        latents: Latents,
        counts: Tensor,
        seeds: Sequence[int],
        trusts: Sequence[TrustRegion],
    ) -> Proposal:
        """Set B starts with compositions ``counts`` (B, Z); return them as the first proposal."""
        noise = self._invert(latents.z, counts)
        log_prob = self._model.prior.composition.log_prob(counts)
        floors = (log_prob - PRIOR_MARGIN).tolist()
        rows = zip(seeds, counts, noise, floors, trusts, strict=True)
        self._incumbents = [Incumbent(*row) for row in rows]
        return Proposal(latents, counts, [math.inf] * len(seeds))

    def live(self) -> list[int]:
        """Return the starts whose search continues."""
        return [row for row, one in enumerate(self._incumbents) if not one.trust.exhausted]

    def result(self) -> SearchResult:
        """Return the trajectories and the network evaluations so far."""
        nfe = torch.tensor([one.nfe for one in self._incumbents], dtype=torch.long)
        return SearchResult([one.trajectory for one in self._incumbents], nfe)

    def propose(
        self, rows: Sequence[int], steps: int, learning_rate: float, progress: SearchProgress
    ) -> Proposal:
        """Return the next proposal for the starts ``rows``.

        The noise follows the gradient within the trust region; then the composition changes.
        """
        incumbents = [self._incumbents[row] for row in rows]
        noise = self._descend(incumbents, steps, learning_rate, progress)
        counts = self._compositions.best(
            noise,
            torch.stack([one.counts for one in incumbents]),
            [one.min_log_prob for one in incumbents],
            [one.tabu for one in incumbents],
        )
        with torch.no_grad():
            z = self._model.prior.sample_from_noise(noise, counts)
            predicted = self._objective.cost(self._objective.predict(z)).tolist()
        return Proposal(Latents.of(z), counts, predicted)

    @torch.no_grad()
    def decode(
        self, rows: Sequence[int], proposal: Proposal, number: int, progress: SearchProgress
    ) -> None:
        """Decode the proposal for the starts ``rows``; a better crystal becomes the incumbent.

        Args:
            rows: L starts.
            proposal: the latents of these starts.
            number: number of the decoding; 0 is that of the starts.
            progress: the progress of the whole search.
        """
        incumbents = [self._incumbents[row] for row in rows]
        before = [one.trajectory.valid_cost for one in incumbents]
        finite, decoded = decode_finite(
            self._model,
            proposal.latents,
            [crystal_seed(one.seed, number) for one in incumbents],
            self._sampler,
            progress.level_done,
            _fixed_attributes(proposal),
        )
        progress.decoding_done()
        improved = [False] * len(rows)
        if decoded is not None:
            for place, is_better in zip(
                finite,
                self._judge([incumbents[place] for place in finite], decoded),
                strict=True,
            ):
                improved[place] = is_better
        for place in set(range(len(rows))) - set(finite):
            incumbents[place].trajectory.add_rejected()
        for place, incumbent in enumerate(incumbents):
            if not improved[place]:
                incumbent.tabu.add(key(proposal.counts[place]))
            if number:
                incumbent.trust.update(
                    before[place],
                    proposal.predicted[place],
                    incumbent.trajectory.cost,
                    improved[place],
                )

    def _judge(self, incumbents: Sequence[Incumbent], decoded: Decoded) -> list[bool]:
        """Add a crystal to each trajectory; return True where it is the new incumbent."""
        crystals = decoded.crystals.to(self._model.device)
        z = encode(self._model, crystals).z.mean
        counts = element_counts(crystals)
        noise = self._invert(z, counts)
        predicted = self._objective.predict(z)
        cost = self._objective.cost(predicted).tolist()
        values = self._objective.in_card_units(predicted).tolist()
        allowed = self._allowed(counts).tolist()
        structures, singles = to_structures(crystals), decoded.crystals.split()
        improved = [False] * len(incumbents)
        for i, incumbent in enumerate(incumbents):
            incumbent.nfe += int(decoded.nfe[i])
            if not allowed[i]:
                incumbent.trajectory.add_rejected()
                continue
            valid = structure_valid(structures[i]) and neutral(key(counts[i]))
            improved[i] = incumbent.trajectory.add(singles[i], valid, cost[i], tuple(values[i]))
            if improved[i]:
                incumbent.counts, incumbent.noise = counts[i], noise[i]
        return improved

    @torch.no_grad()
    def _invert(self, z: Tensor, counts: Tensor) -> Tensor:
        return self._model.prior.invert(z, counts)

    def _descend(
        self,
        incumbents: Sequence[Incumbent],
        steps: int,
        learning_rate: float,
        progress: SearchProgress,
    ) -> Tensor:
        """Return the noise (L, K) after ``steps`` of Adam within the trust regions."""
        start = torch.stack([one.noise for one in incumbents])
        counts = torch.stack([one.counts for one in incumbents])
        radius = start.new_tensor([[one.trust.radius] for one in incumbents])
        radius = radius * start.shape[1] ** 0.5
        noise = start.clone().requires_grad_(True)
        adam = torch.optim.Adam([noise], lr=learning_rate)
        for _ in range(steps):
            adam.zero_grad(set_to_none=True)
            z = self._model.prior.sample_from_noise(noise, counts)
            self._objective.cost(self._objective.predict(z)).sum().backward()
            adam.step()
            with torch.no_grad():
                step = noise - start
                length = step.norm(dim=1, keepdim=True).clamp(min=1e-12)
                noise.copy_(start + step * (radius / length).clamp(max=1))
            progress.step_done()
        return noise.detach()


def _fixed_attributes(proposal: Proposal) -> list[FixedAttributes | None]:
    """Return the compositions to fix; None where atom latents determine the elements."""
    has_atom_latents = (proposal.latents.num_atom_latents > 0).tolist()
    return [
        None if determined else FixedAttributes(counts)
        for determined, counts in zip(has_atom_latents, proposal.counts, strict=True)
    ]
