"""An autoregressive density over the compositions of a cell."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from cdvae.geometry.elements import NUM_SPECIES
from cdvae.linear import Linear

LAYERS = 2
DROPOUT = 0.1


class _Residual(nn.Module):
    """A linear layer, LAYERS residual layers, and logits."""

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.enter = Linear(inputs, width)
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width),
                Linear(width, width),
                nn.SiLU(),
                nn.Dropout(DROPOUT),
                Linear(width, width),
            )
            for _ in range(LAYERS)
        )
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.SiLU(), Linear(width, outputs))

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for layer in self.layers:
            x = x + layer(x)
        return self.leave(x)


@dataclass(frozen=True)
class ShareState:
    """The state before the next share, which is the number of atoms of the next element."""

    left: Tensor  # (B,) atoms without an element, at least 1
    previous: Tensor  # (B,) the previous share; 0 for the first
    chosen: Tensor  # (B, N + 1) chosen shares of each size


@dataclass(frozen=True)
class ElementState:
    """The state before the next share gets its element."""

    share: Tensor  # (B,) atoms of the element
    after: Tensor  # (B,) the previous element if its share is equal, else -1
    counts: Tensor  # (B, Z) atoms of the elements chosen so far
    left: Tensor  # (B, N + 1) shares of each size without an element, this one included
    shares: Tensor  # (B, N + 1) shares of each size


class ElementAssignment:
    """B compositions whose shares get their elements one after the other."""

    def __init__(self, shares: Tensor, max_atoms: int) -> None:
        """Start with ``shares`` (B, K) int64 in falling order, padded with zeros."""
        self._shares, self._max_atoms = shares, max_atoms
        self._histogram = one_hot(shares, max_atoms + 1).sum(1)
        self._histogram[:, 0] = 0
        self._left = self._histogram
        self._last = shares.new_full((len(shares),), -1)
        self.counts = torch.zeros(len(shares), NUM_SPECIES, device=shares.device)
        """(B, Z) atoms of each element so far."""

    def rows(self, position: int) -> Tensor:
        """Return the compositions with more than ``position`` shares."""
        return self._shares[:, position].nonzero()[:, 0]

    def state(self, position: int, rows: Tensor) -> ElementState:
        """Return the state of ``rows`` before share ``position`` gets its element."""
        share = self._shares[rows, position]
        previous = self._shares[rows, position - 1] if position else torch.zeros_like(share)
        after = torch.where(share == previous, self._last[rows], -1)
        return ElementState(
            share, after, self.counts[rows], self._left[rows], self._histogram[rows]
        )

    def assign(self, position: int, rows: Tensor, element: Tensor) -> None:
        """Assign the elements ``element`` (R,), indices, to share ``position`` of ``rows`` (R,)."""
        share = self._shares[:, position]
        self.counts[rows, element] = share[rows].to(self.counts)
        self._last = self._last.index_put((rows,), element)
        used = one_hot(share, self._max_atoms + 1) * (share > 0)[:, None]
        self._left = self._left - used


def elements_in_order(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Return shares (B, K) and element indices (B, K) of ``counts`` (B, Z).

    The largest share comes first; equal shares are in order of atomic number. Shares are padded
    with zeros.
    """
    z = counts.shape[1]
    rank = counts.long() * z - torch.arange(z, device=counts.device)
    most = int((counts > 0).sum(1).max())
    element = rank.topk(most, 1).indices
    return counts.long().gather(1, element), element


def enough_above(free: Tensor, needed: Tensor) -> Tensor:
    """Return the ``free`` (B, Z) elements with ``needed`` (B, 1) free ones at or above them."""
    return free & (free.flip(1).cumsum(1).flip(1) >= needed)


def _before(values: Tensor) -> Tensor:
    """Return the sums (B, K, …) over the earlier positions of ``values`` (B, K, …)."""
    return values.cumsum(1) - values


def _previous(values: Tensor) -> Tensor:
    """Return the value (B, K) of the position before, 0 at the first."""
    return torch.cat([torch.zeros_like(values[:, :1]), values[:, :-1]], 1)


class CompositionPrior(nn.Module):
    """A density over compositions: first N, then the shares of the elements, then the elements.

    A share is the number of atoms of one element. Shares are in falling order, and the elements of
    equal shares in order of atomic number, so there is one way to write a composition, and its
    probability is the product of the conditionals. The rules of chemistry (the ratio of anions to
    cations) are discrete: a density learns them in minutes, while a smooth map from noise to z
    blurs them. The elements are chosen given all shares, because a choice atom by atom makes more
    errors.
    """

    known_elements: Tensor  # (Z,) bool
    sizes: Tensor  # (N + 1,) bool
    most_elements: Tensor  # () int64

    def __init__(self, max_atoms: int, width: int) -> None:
        super().__init__()
        self.max_atoms = max_atoms
        self.size = nn.Parameter(torch.zeros(max_atoms + 1))
        self.parts = _Residual(3 * (max_atoms + 1), width, max_atoms + 1)
        self.elements = _Residual(3 * NUM_SPECIES + 3 * (max_atoms + 1), width, NUM_SPECIES)
        self.register_buffer("known_elements", torch.ones(NUM_SPECIES, dtype=torch.bool))
        self.register_buffer("sizes", torch.arange(max_atoms + 1) > 0)
        self.register_buffer("most_elements", torch.tensor(max_atoms))

    @property
    def draws(self) -> int:
        """The number of uniform numbers that :meth:`sample` needs for one composition."""
        return 1 + 2 * self.max_atoms

    def restrict_to(self, counts: Tensor) -> None:
        """Allow only the elements and the numbers of atoms and elements in ``counts`` (N, Z)."""
        self.known_elements.copy_(counts.sum(0) > 0)
        self.sizes.zero_()[counts.sum(1).long()] = True
        self.most_elements.copy_((counts > 0).sum(1).max())

    def _size(self) -> Tensor:
        """Return the log probabilities (N + 1) of the number of atoms."""
        return self.size.masked_fill(~self.sizes, -torch.inf).log_softmax(-1)

    def share_log_prob(self, state: ShareState) -> Tensor:
        """Return the log probabilities (B, N + 1) of the next share."""
        sizes = torch.arange(self.max_atoms + 1, device=state.left.device)
        features = [
            one_hot(state.left, self.max_atoms + 1),
            one_hot(state.previous, self.max_atoms + 1),
            state.chosen,
        ]
        logits = self.parts(torch.cat(features, 1).to(self.size))
        bound = torch.where(state.previous > 0, state.previous, self.max_atoms)
        after = state.left[:, None] - sizes
        # The remaining atoms must fit into the remaining elements, at most this share in each.
        more = (self.most_elements - 1 - state.chosen.sum(1))[:, None] * sizes
        allowed = (sizes > 0) & (sizes <= bound[:, None]) & (after >= 0) & (after <= more)
        return logits.masked_fill(~allowed, -torch.inf).log_softmax(-1)

    def element_log_prob(self, state: ElementState) -> Tensor:
        """Return the log probabilities (B, Z) of the element of the next share."""
        present = one_hot(state.share, self.max_atoms + 1)
        before = one_hot(state.after + 1, NUM_SPECIES + 1)[:, 1:]
        counts = state.counts
        features = [counts, counts > 0, before, present, state.left, state.shares]
        logits = self.elements(torch.cat(features, 1).to(self.size))
        free = self.known_elements & (counts == 0)
        index = torch.arange(NUM_SPECIES, device=counts.device)
        free = free & (index > state.after[:, None])
        # The next equal shares take later elements, so enough of these must be free.
        allowed = enough_above(free, state.left.gather(1, state.share[:, None]))
        return logits.masked_fill(~allowed, -torch.inf).log_softmax(-1)

    def log_prob(self, counts: Tensor) -> Tensor:
        """Return the log probability (B,) of compositions ``counts`` (B, Z), nats."""
        known = self.known_elements[None].expand(len(counts), -1) | (counts == 0)
        possible = known.all(1) & ((counts > 0).sum(1) <= self.most_elements)
        possible = possible & self.sizes[counts.sum(1).long()]
        total = counts.new_full((len(counts),), -torch.inf)
        if possible.any():
            shares, elements = elements_in_order(counts[possible])
            log = self.log_prob_of_shares(shares) + self._log_prob_of_elements(shares, elements)
            total = total.masked_scatter(possible, log)
        return total

    def log_prob_of_shares(self, shares: Tensor) -> Tensor:
        """Return the log probability (R,) of ``shares`` (R, K), that of N included.

        ``shares`` are int64 in falling order, padded with zeros. The elements do not matter.
        """
        live, size = shares > 0, shares.sum(1)
        chosen = _before(one_hot(shares, self.max_atoms + 1) * live[..., None])
        left = size[:, None] - _before(shares)
        log = self.share_log_prob(ShareState(left[live], _previous(shares)[live], chosen[live]))
        return self._size()[size] + _sum_over_live(log, shares, live)

    def _log_prob_of_elements(self, shares: Tensor, elements: Tensor) -> Tensor:
        """Return the log probability (B,) of ``elements`` (B, K), given their shares (B, K)."""
        live = shares > 0
        histogram = one_hot(shares, self.max_atoms + 1) * live[..., None]
        total = histogram.sum(1, keepdim=True).expand_as(histogram)
        counts = _before(one_hot(elements, NUM_SPECIES) * shares[..., None])
        equal = (_previous(shares) == shares) & live
        after = torch.where(equal, _previous(elements), -1)
        state = ElementState(
            shares[live],
            after[live],
            counts[live],
            (total - _before(histogram))[live],
            total[live],
        )
        return _sum_over_live(self.element_log_prob(state), elements, live)

    @torch.no_grad()
    def sample(self, uniform: Tensor) -> Tensor:
        """Return counts (B, Z) from uniform numbers (B, :attr:`draws`) in [0, 1)."""
        shares = self._sample_shares(uniform[:, : 1 + self.max_atoms])
        draws = uniform[:, 1 + self.max_atoms :]
        assignment = ElementAssignment(shares, self.max_atoms)
        for position in range(shares.shape[1]):
            rows = assignment.rows(position)
            if not len(rows):
                break
            log = self.element_log_prob(assignment.state(position, rows))
            assignment.assign(position, rows, choose(log, draws[rows, position]))
        return assignment.counts

    def _sample_shares(self, uniform: Tensor) -> Tensor:
        """Return shares (B, K), padded with zeros, from uniform numbers (B, N + 1)."""
        left = choose(self._size().expand(len(uniform), -1), uniform[:, 0])
        share, chosen = torch.zeros_like(left), one_hot(left, self.max_atoms + 1) * 0
        shares = []
        for position in range(int(self.most_elements)):
            log = self.share_log_prob(ShareState(left.clamp(min=1), share, chosen))
            share = torch.where(left > 0, choose(log, uniform[:, 1 + position]), 0)
            chosen = chosen + one_hot(share, self.max_atoms + 1) * (share > 0)[:, None]
            left = left - share
            shares.append(share)
        return torch.stack(shares, 1)


def _sum_over_live(log: Tensor, chosen: Tensor, live: Tensor) -> Tensor:
    """Return the sums (B,) of the ``log`` (L, C) of the ``chosen`` (B, K) classes.

    ``log`` has a row for each position of ``live`` (B, K).
    """
    values = log.gather(1, chosen[live][:, None])[:, 0]
    total = torch.zeros_like(chosen, dtype=values.dtype)
    return total.masked_scatter(live, values).sum(1)


def choose(log: Tensor, draw: Tensor) -> Tensor:
    """Return a class (B,) for each row of log probabilities (B, C), from uniform numbers (B,).

    A class of probability zero is never chosen.
    """
    edges = log.exp().cumsum(-1)
    chosen = torch.searchsorted(edges, (draw * edges[:, -1])[:, None], right=True).squeeze(1)
    # Rounding may lead beyond the last possible class.
    possible = (log > -torch.inf).flip(1).int().argmax(1)
    return torch.minimum(chosen, log.shape[1] - 1 - possible)
