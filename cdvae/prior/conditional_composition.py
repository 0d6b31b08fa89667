"""The composition prior under constraints."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from cdvae.constraints import Constraints
from cdvae.errors import InfeasibleError
from cdvae.geometry.elements import NUM_SPECIES, symbol
from cdvae.prior.composition_prior import (
    CompositionPrior,
    ElementAssignment,
    ElementState,
    choose,
    enough_above,
)
from cdvae.prior.partitions import Stoichiometry, falling, partitions

PARTICLES = 16
"""Compositions to draw for each result if elements are required or forbidden."""


class ConditionalComposition:
    """Draws compositions c from the prior p(c) under constraints that every draw meets.

    N and the shares are drawn from a table of all possible ones. The elements are drawn one after
    the other as in the prior, but forbidden elements are excluded and required ones placed. One of
    PARTICLES such compositions is selected with probability proportional to p(c)/q(c), where q is
    the probability of this procedure. The result follows p(c | constraints) up to a bias of order
    1/PARTICLES (self-normalized importance sampling), and exactly if no element is required or
    forbidden.
    """

    def __init__(
        self,
        prior: CompositionPrior,
        constraints: Constraints,
        size_log_weights: Tensor | None = None,
        possible: Callable[[Stoichiometry], bool] | None = None,
    ) -> None:
        """Tabulate the possible compositions or shares.

        Args:
            prior: the unconditional density.
            constraints: ``num_atoms``, ``composition``, ``include`` and ``exclude`` are used.
            size_log_weights: (N + 1) to add to the log probability of the number of atoms.
            possible: whether a cell may have these shares; None: all are possible.

        Raises:
            InfeasibleError: no composition meets the constraints.
        """
        self._prior, self._constraints = prior, constraints
        self._possible = possible or (lambda shares: True)
        self._device = prior.size.device
        self._sizes = self._allowed_sizes()
        weights = prior.size.new_zeros(prior.max_atoms + 1)
        self._weights = weights if size_log_weights is None else size_log_weights.to(weights)
        formula = constraints.composition
        self._table = self._multiples(formula) if formula else self._all_shares()

    def allows(self, counts: Tensor) -> Tensor:
        """Return a mask (B,) of the ``counts`` (B, Z) that meet the constraints."""
        if self._constraints.composition:
            return (counts[:, None] == self._table[0]).all(-1).any(1)
        fine = torch.isin(counts.sum(1).long(), torch.tensor(self._sizes, device=counts.device))
        for number in self._constraints.include:
            fine = fine & (counts[:, number - 1] > 0)
        for number in self._constraints.exclude:
            fine = fine & (counts[:, number - 1] == 0)
        return fine

    @property
    def draws(self) -> int:
        """The number of uniform numbers that :meth:`sample` needs for one composition."""
        return 1 if self._constraints.composition else 1 + self._particles * self._draws_of_each

    @property
    def _particles(self) -> int:
        return PARTICLES if self._constraints.include or self._constraints.exclude else 1

    @property
    def _draws_of_each(self) -> int:
        return 1 + len(self._constraints.include) + int(self._prior.most_elements)

    @torch.no_grad()
    def sample(self, uniform: Tensor) -> Tensor:
        """Return counts (B, Z) from uniform numbers (B, :attr:`draws`) in [0, 1)."""
        rows, log = self._table
        if self._constraints.composition:
            return rows[choose(log.expand(len(uniform), -1), uniform[:, 0])]
        number = self._particles
        draws = uniform[:, 1:].reshape(-1, self._draws_of_each)
        shares = rows[choose(log.expand(len(draws), -1), draws[:, 0])]
        counts, weight = self._elements(shares, draws[:, 1:])
        best = choose(weight.view(-1, number).log_softmax(1), uniform[:, 0])
        return counts.view(len(uniform), number, -1)[torch.arange(len(uniform)), best]

    def _allowed_sizes(self) -> list[int]:
        known = self._prior.sizes.nonzero()[:, 0].tolist()
        required = self._constraints.num_atoms
        sizes = known if required is None else [n for n in known if n == required]
        if not sizes:
            raise InfeasibleError(
                f"num_atoms: {required} atoms; the model knows cells of {_listed(known)} atoms"
            )
        return sizes

    def _multiples(self, formula: Mapping[int, int]) -> tuple[Tensor, Tensor]:
        """Return the cells (R, Z) of that formula and their log probabilities (R,)."""
        constraints, prior = self._constraints, self._prior
        unknown = [z for z in formula if not bool(prior.known_elements[z - 1])]
        if unknown:
            raise InfeasibleError(f"composition: the model does not know {symbol(unknown[0])}")
        if constraints.include - set(formula) or constraints.exclude & set(formula):
            raise InfeasibleError("composition: it contradicts the required or forbidden elements")
        size = sum(formula.values())
        factors = [n // size for n in self._sizes if n % size == 0]
        if 1 in factors and constraints.lattice is None:
            factors = [1]
        if not factors:
            sizes = _listed(self._sizes)
            raise InfeasibleError(
                f"composition: no multiple of its {size} atoms is among {sizes} atoms"
            )
        fine = [k for k in factors if self._possible(falling(k * n for n in formula.values()))]
        if not fine:
            raise InfeasibleError("spacegroup: it has no sites for the atoms of this composition")
        unit = torch.zeros(NUM_SPECIES, device=self._device)
        for number, count in formula.items():
            unit[number - 1] = count
        rows = torch.stack([k * unit for k in fine])
        log = prior.log_prob(rows)
        log = torch.zeros_like(log) if log.isinf().all() else log
        return rows, (log + self._weights[rows.sum(1).long()]).log_softmax(0)

    @torch.no_grad()
    def _all_shares(self) -> tuple[Tensor, Tensor]:
        """Return shares (R, K) int64, padded with zeros, and their log probabilities (R,)."""
        prior, constraints = self._prior, self._constraints
        missing = [z for z in constraints.include if not bool(prior.known_elements[z - 1])]
        if missing:
            raise InfeasibleError(f"elements: the model does not know {symbol(missing[0])}")
        if constraints.include & constraints.exclude:
            raise InfeasibleError("elements: one is both required and forbidden")
        most, least = int(prior.most_elements), max(1, len(constraints.include))
        most = min(most, int(self._free().sum()))
        every = [shares for n in self._sizes for shares in partitions(n, n, most)]
        fine = [shares for shares in every if len(shares) >= least and self._possible(shares)]
        if not fine:
            raise InfeasibleError(
                f"no cell of {_listed(self._sizes)} atoms and {least} to {most} elements"
                + (" has sites in the space group" if constraints.spacegroup else " is possible")
            )
        rows = torch.zeros(len(fine), int(prior.most_elements), dtype=torch.int64)
        for row, shares in zip(rows, fine, strict=True):
            row[: len(shares)] = torch.tensor(shares)
        rows = rows.to(self._device)
        log = prior.log_prob_of_shares(rows) + self._weights[rows.sum(1)]
        return rows, log.log_softmax(0)

    def _free(self) -> Tensor:
        """Return a mask (Z,) of the elements that may occur."""
        free = self._prior.known_elements.clone()
        for number in self._constraints.exclude:
            if number <= NUM_SPECIES:
                free[number - 1] = False
        return free

    def _elements(self, shares: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Draw elements for ``shares`` (B, K); return counts (B, Z) and log p(c)/q(c) (B,)."""
        prior, include = self._prior, len(self._constraints.include)
        required, weight = self._assign_required(shares, uniform[:, :include])
        draws = uniform[:, include:]
        assignment = ElementAssignment(shares, prior.max_atoms)
        for position in range(shares.shape[1]):
            rows = assignment.rows(position)
            if not len(rows):
                break
            state = assignment.state(position, rows)
            log = prior.element_log_prob(state)
            allowed = self._allowed_elements(state, required[rows])
            proposal = log.masked_fill(~allowed, -torch.inf).log_softmax(1)
            element = choose(proposal, draws[rows, position])
            gain = (log - proposal).gather(1, element[:, None])[:, 0]
            weight = weight.index_add(0, rows, gain)
            required = required.index_put((rows, element), torch.zeros_like(element))
            assignment.assign(position, rows, element)
        return assignment.counts, weight

    def _allowed_elements(self, state: ElementState, required: Tensor) -> Tensor:
        """Return a mask (B, Z) of the elements that the next share may get.

        ``required`` (B, Z) are the shares of required elements that are still to come, else 0.
        """
        index = torch.arange(NUM_SPECIES, device=self._device)
        needed = state.left.gather(1, state.share[:, None])
        fits = required == state.share[:, None]  # required elements of this share
        free = self._free() & (state.counts == 0) & (index > state.after[:, None])
        free = free & (fits | (required == 0))
        # Equal shares get rising elements, so the next share must not pass a required element.
        first = torch.where(fits, index, NUM_SPECIES).amin(1, keepdim=True)
        allowed = enough_above(free, needed) & (index <= first)
        forced = fits.sum(1, keepdim=True) == needed
        return allowed & (~forced | (index == first))

    def _assign_required(self, shares: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Draw the shares (B, Z) of required elements; return them and −log probability (B,)."""
        required = torch.zeros(len(shares), NUM_SPECIES, dtype=torch.int64, device=self._device)
        weight = torch.zeros(len(shares), device=self._device)
        left = one_hot(shares, self._prior.max_atoms + 1).sum(1)
        left[:, 0] = 0
        for number, draw in zip(sorted(self._constraints.include), uniform.unbind(1), strict=True):
            log = left.log().log_softmax(1)
            share = choose(log, draw)
            required[:, number - 1] = share
            weight = weight - log.gather(1, share[:, None])[:, 0]
            left = left - one_hot(share, left.shape[1])
        return required, weight


def _listed(sizes: list[int]) -> str:
    whole = sizes == list(range(sizes[0], sizes[-1] + 1)) and len(sizes) > 2
    return f"{sizes[0]} to {sizes[-1]}" if whole else ", ".join(map(str, sizes))
