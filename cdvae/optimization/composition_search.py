"""Choice of the next composition in a search: a beam search over a few changes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cdvae.inference.initial_state import read_counts
from cdvae.model_folder import TrainedModel
from cdvae.optimization.objective import CombinedObjective
from cdvae.optimization.substitution import Composition, key, keys, neighbors, neutral

CHANGES = 3
"""Most changes in one step. No single change leads from an alloy to a salt, because the
compositions in between are neither."""
BEAM = 3
"""Compositions that are changed further after each change, neutral or not."""
CANDIDATES = 24
"""Compositions per start that the heads evaluate after each change, the best to first order."""
CONSIDERED = 4 * CANDIDATES
"""Compositions per start, in that order, whose neutrality and likelihood are checked."""
FLOW_STEPS = 2
"""Steps of the flow: within 0.1 standard deviations of many steps, at a third of their cost."""
MISREAD = 1e6
"""Cost added where the heads read another composition, so that it ranks after all others."""

Allowed = Callable[[Tensor], Tensor]
"""Return a mask (M,) of the allowed compositions (M, Z)."""


@dataclass
class BeamState:
    """The state of the beam search of one start."""

    noise: Tensor  # (K,)
    min_log_prob: float  # nats under the prior
    tabu: set[Composition]
    beam: Tensor  # (W, Z)
    seen: set[Composition]
    chosen: Tensor  # (Z,) the best composition that may be decoded
    cost: float


class CompositionSearch:
    """Finds the composition within a few changes of the present one that the heads rate best.

    The flow of the prior carries the noise of the start to the latent of each composition.
    """

    def __init__(self, model: TrainedModel, objective: CombinedObjective, allowed: Allowed) -> None:
        self._prior, self._heads = model.prior, model.network.heads
        self._objective, self._allowed = objective, allowed

    @torch.no_grad()
    def best(
        self,
        noise: Tensor,
        counts: Tensor,
        min_log_probs: Sequence[float],
        tabu: Sequence[set[Composition]],
    ) -> Tensor:
        """Return the next composition (B, Z) of each start.

        It is neutral, allowed, not tabu and likely enough under the prior. The present composition
        is returned if it is the best one and not tabu, or if there is no other.

        Args:
            noise: (B, K) of the starts.
            counts: (B, Z) present compositions of the starts.
            min_log_probs: nats, the least log probability of each start.
            tabu: compositions that each start must not return to.
        """
        present_cost = self._cost(noise, counts).tolist()
        states = []
        for x, present, min_log_prob, excluded, cost in zip(
            noise, counts, min_log_probs, tabu, present_cost, strict=True
        ):
            name = key(present)
            states.append(
                BeamState(
                    noise=x,
                    min_log_prob=min_log_prob,
                    tabu=excluded,
                    beam=present[None],
                    seen={name},
                    chosen=present,
                    cost=math.inf if name in excluded else cost,
                )
            )
        for _ in range(CHANGES):
            self._extend(states)
        return torch.stack([state.chosen for state in states])

    def _cost(self, noise: Tensor, counts: Tensor) -> Tensor:
        """Return the predicted cost (M,) of ``counts`` (M, Z) at ``noise`` (M, K)."""
        z = self._prior.sample_from_noise(noise, counts, FLOW_STEPS)
        misread = (read_counts(self._heads, z) != counts).any(1)
        return self._objective.cost(self._objective.predict(z)) + MISREAD * misread

    def _extend(self, states: Sequence[BeamState]) -> None:
        """Apply one more change to every composition of the beams."""
        states = [state for state in states if len(state.beam)]
        if not states:
            return
        eligible, intermediate = self._shortlists(states)
        sizes = [len(a) + len(b) for a, b in zip(eligible, intermediate, strict=True)]
        if not sum(sizes):
            return
        rows = torch.cat(
            [part for pair in zip(eligible, intermediate, strict=True) for part in pair]
        )
        cost = self._cost(_repeat_noise(states, sizes), rows)
        parts = zip(states, eligible, rows.split(sizes), cost.split(sizes), strict=True)
        for state, choices, compositions, costs in parts:
            if len(choices):
                least, best = costs[: len(choices)].min(0)
                if float(least) < state.cost:
                    state.cost, state.chosen = float(least), compositions[best]
            state.beam = compositions[costs.argsort(stable=True)[:BEAM]]

    def _shortlists(self, states: Sequence[BeamState]) -> tuple[list[Tensor], list[Tensor]]:
        """Return the compositions one change away from each beam that are worth evaluating.

        The first list, (E, Z) for each state, may be chosen; the second, (O, Z), is only changed
        further.
        """
        neutrals: list[Tensor] = []
        intermediate: list[Tensor] = []
        for state, rows in zip(states, self._nearest(states), strict=True):
            names = keys(rows)
            new = [i for i, name in enumerate(names) if name not in state.seen]
            state.seen.update(names)
            fit = [i for i in new if names[i] not in state.tabu and neutral(names[i])]
            rest = [i for i in new if i not in set(fit)]
            neutrals.append(rows[fit[: 2 * CANDIDATES]])
            intermediate.append(rows[rest[:BEAM]])
        log_prob = self._prior.composition.log_prob(torch.cat(neutrals))
        parts = zip(states, neutrals, log_prob.split([len(rows) for rows in neutrals]), strict=True)
        eligible = [
            rows[values >= state.min_log_prob][:CANDIDATES] for state, rows, values in parts
        ]
        return eligible, intermediate

    def _nearest(self, states: Sequence[BeamState]) -> list[Tensor]:
        """Return the compositions (M, Z) one change away from each beam, best to first order."""
        sizes = [len(state.beam) for state in states]
        predicted, gradients = self._gradients(
            _repeat_noise(states, sizes), torch.cat([state.beam for state in states])
        )
        nearest = []
        for state, values, slopes in zip(
            states, predicted.split(sizes), gradients.split(sizes), strict=True
        ):
            near = [neighbors(counts, self._prior.composition) for counts in state.beam]
            parts = zip(near, state.beam, values, slopes, strict=True)
            expected = [value + (rows - counts) @ slope for rows, counts, value, slope in parts]
            order = self._objective.cost(torch.cat(expected)).argsort(stable=True)
            rows = torch.cat(near)[order]
            nearest.append(rows[self._allowed(rows)][:CONSIDERED])
        return nearest

    def _gradients(self, noise: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the predictions (M, P) and their derivatives (M, Z, P) by ``counts`` (M, Z)."""
        with torch.enable_grad():
            counts = counts.clone().requires_grad_(True)
            z = self._prior.sample_from_noise(noise, counts, FLOW_STEPS)
            predicted = self._objective.predict(z)
            slopes = [
                torch.autograd.grad(column.sum(), counts, retain_graph=True)[0]
                for column in predicted.unbind(-1)
            ]
        return predicted.detach(), torch.stack(slopes, -1)


def _repeat_noise(states: Sequence[BeamState], sizes: Sequence[int]) -> Tensor:
    """Return the noise (M, K) of each state, repeated ``sizes`` times."""
    return torch.cat(
        [state.noise.expand(size, -1) for state, size in zip(states, sizes, strict=True)]
    )
