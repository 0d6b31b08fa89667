"""Which composition a search goes to next: a beam search over a few changes at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cdvae.inference.initial_state import read_counts
from cdvae.model_folder import TrainedModel
from cdvae.optimization.objective import Goal
from cdvae.optimization.substitution import Composition, key, keys, neighbors, neutral

CHANGES = 3
"""Most changes of a move. One leads from no alloy to a salt: what lies between is neither."""
BEAM = 3
"""Compositions that are changed further after each change, neutral or not."""
CANDIDATES = 24
"""Compositions of each start weighed after each change, the best to first order."""
CONSIDERED = 4 * CANDIDATES
"""Of those, in this order, that are looked at for being neutral and likely."""
FLOW_STEPS = 2
"""For weighing: ends within 0.1 standard deviations of many steps, at a third of their cost."""
MISREAD = 1e6
"""Badness added where the heads read another composition: after all that are read as they are."""

Allowed = Callable[[Tensor], Tensor]
"""(M,) bool: which of the compositions (M, Z) crystals may have."""


@dataclass
class BeamState:
    """How far the beam search of one start has come."""

    noise: Tensor  # (K,)
    floor: float  # nats of the prior
    tabu: set[Composition]
    beam: Tensor  # (W, Z)
    seen: set[Composition]
    chosen: Tensor  # (Z,) the best that may be decoded
    cost: float


class Reach:
    """The compositions within a few changes of the present ones, weighed by the heads.

    Latents of a composition are those that the flow of the prior carries the same noise to.
    """

    def __init__(self, model: TrainedModel, goal: Goal, allowed: Allowed) -> None:
        self._prior, self._heads = model.prior, model.network.heads
        self._goal, self._allowed = goal, allowed

    @torch.no_grad()
    def best(
        self,
        noise: Tensor,
        counts: Tensor,
        floors: Sequence[float],
        taboos: Sequence[set[Composition]],
    ) -> Tensor:
        """(B, Z) the composition that each start had best go to.

        It is neutral, allowed, not tabu and at least as likely under the prior as the floor; or it
        is the start's own, where that is not tabu or nothing else is left.

        Args:
            noise: (B, K) of the starts.
            counts: (B, Z) of the starts.
            floors: nats, of each start.
            taboos: compositions not to go to, of each start.
        """
        cost = self._weigh(noise, counts).tolist()
        ways = []
        for row, own, floor, tabu, bad in zip(noise, counts, floors, taboos, cost, strict=True):
            name = key(own)
            reached = math.inf if name in tabu else bad
            ways.append(BeamState(row, floor, tabu, own[None], {name}, own, reached))
        for _ in range(CHANGES):
            self._extend(ways)
        return torch.stack([way.chosen for way in ways])

    def _weigh(self, noise: Tensor, counts: Tensor) -> Tensor:
        """(M,) the cost that each of ``counts`` (M, Z) promises at its ``noise`` (M, K)."""
        latents = self._prior.sample_from_noise(noise, counts, FLOW_STEPS)
        misread = (read_counts(self._heads, latents) != counts).any(1)
        return self._goal.cost(self._goal.read(latents)) + MISREAD * misread

    def _extend(self, ways: Sequence[BeamState]) -> None:
        """One change more from every composition of the beams."""
        ways = [way for way in ways if len(way.beam)]  # others have nowhere to go from
        if not ways:
            return
        eligible, others = self._shortlists(ways)
        sizes = [len(fit) + len(more) for fit, more in zip(eligible, others, strict=True)]
        if not sum(sizes):
            return
        rows = torch.cat([part for pair in zip(eligible, others, strict=True) for part in pair])
        cost = self._weigh(_noise(ways, sizes), rows)
        parts = zip(ways, eligible, rows.split(sizes), cost.split(sizes), strict=True)
        for way, fit, found, values in parts:
            if len(fit):
                least, best = values[: len(fit)].min(0)
                if float(least) < way.cost:
                    way.cost, way.chosen = float(least), found[best]
            way.beam = found[values.argsort(stable=True)[:BEAM]]

    def _shortlists(self, ways: Sequence[BeamState]) -> tuple[list[Tensor], list[Tensor]]:
        """Of each way, a change from its beam: (E, Z) to choose from, (O, Z) that only lead on."""
        neutrals: list[Tensor] = []
        others: list[Tensor] = []
        for way, rows in zip(ways, self._nearest(ways), strict=True):
            names = keys(rows)
            new = [i for i, name in enumerate(names) if name not in way.seen]
            way.seen.update(names)
            fit = [i for i in new if names[i] not in way.tabu and neutral(names[i])]
            rest = [i for i in new if i not in set(fit)]
            neutrals.append(rows[fit[: 2 * CANDIDATES]])
            others.append(rows[rest[:BEAM]])
        nats = self._prior.composition.log_prob(torch.cat(neutrals))
        parts = zip(ways, neutrals, nats.split([len(rows) for rows in neutrals]), strict=True)
        return [rows[values >= way.floor][:CANDIDATES] for way, rows, values in parts], others

    def _nearest(self, ways: Sequence[BeamState]) -> list[Tensor]:
        """(M, Z) of each way, the best to first order: what is one change away from its beam."""
        sizes = [len(way.beam) for way in ways]
        here, slopes = self._slopes(_noise(ways, sizes), torch.cat([way.beam for way in ways]))
        nearest = []
        for way, values, by in zip(ways, here.split(sizes), slopes.split(sizes), strict=True):
            near = [neighbors(counts, self._prior.composition) for counts in way.beam]
            parts = zip(near, way.beam, values, by, strict=True)
            expected = [value + (rows - counts) @ slope for rows, counts, value, slope in parts]
            order = self._goal.cost(torch.cat(expected)).argsort(stable=True)
            rows = torch.cat(near)[order]
            nearest.append(rows[self._allowed(rows)][:CONSIDERED])
        return nearest

    def _slopes(self, noise: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """(M, P) what the heads read there, (M, Z, P) its derivative by ``counts`` (M, Z)."""
        with torch.enable_grad():
            counts = counts.clone().requires_grad_(True)
            here = self._goal.read(self._prior.sample_from_noise(noise, counts, FLOW_STEPS))
            slopes = [
                torch.autograd.grad(column.sum(), counts, retain_graph=True)[0]
                for column in here.unbind(-1)
            ]
        return here.detach(), torch.stack(slopes, -1)


def _noise(ways: Sequence[BeamState], sizes: Sequence[int]) -> Tensor:
    """(M, K) the noise of each way, as often as ``sizes`` say."""
    return torch.cat([way.noise.expand(size, -1) for way, size in zip(ways, sizes, strict=True)])
