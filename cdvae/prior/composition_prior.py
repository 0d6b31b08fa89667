"""Which compositions exist: an autoregressive density over the atoms of a cell."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from cdvae.geometry.elements import NUM_SPECIES

LAYERS = 2
DROPOUT = 0.1


class _Residual(nn.Module):
    """Linear in, LAYERS residual layers, logits out."""

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, width)
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, width),
                nn.SiLU(),
                nn.Dropout(DROPOUT),
                nn.Linear(width, width),
            )
            for _ in range(LAYERS)
        )
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.SiLU(), nn.Linear(width, outputs))

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for layer in self.layers:
            x = x + layer(x)
        return self.leave(x)


@dataclass(frozen=True)
class _Written:
    """Compositions as they are written: K parts, the largest first, equal ones by atomic number."""

    part: Tensor  # (B, K) int64 atoms of each element, 0 after the last
    element: Tensor  # (B, K) int64 index of each element, atomic number less one

    @staticmethod
    def of(counts: Tensor) -> _Written:
        """``counts`` (B, Z) written."""
        z = counts.shape[1]
        rank = counts.long() * z - torch.arange(z, device=counts.device)
        most = int((counts > 0).sum(1).max())
        element = rank.topk(most, 1).indices
        return _Written(counts.long().gather(1, element), element)


def _before(values: Tensor) -> Tensor:
    """(B, K, …) sums over the earlier places of ``values`` (B, K, …)."""
    return values.cumsum(1) - values


def _previous(values: Tensor) -> Tensor:
    """(B, K) the value one place earlier, 0 at the first."""
    return torch.cat([torch.zeros_like(values[:, :1]), values[:, :-1]], 1)


class CompositionPrior(nn.Module):
    """First N, then how the atoms are shared among the elements, then which elements these are.

    A composition is a multiset; with the shares in falling order, and the elements of equal shares
    in order of atomic number, it is written in one way only, so the product of the conditionals is
    its probability. Chemistry's rules (how many anions to which cations) are discrete, and a
    density over them is learned in minutes, where a smooth map from noise to z blurs them. Every
    element is chosen with the whole formula in view: a choice atom by atom has more places to go
    wrong at.
    """

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
        """Uniform numbers that :meth:`sample` needs for a composition."""
        return 1 + 2 * self.max_atoms

    def restrict_to(self, counts: Tensor) -> None:
        """Allows only what occurs in ``counts`` (N, Z).

        That is elements, numbers of atoms, and at most as many elements together.
        """
        self.known_elements.copy_(counts.sum(0) > 0)
        self.sizes.zero_()[counts.sum(1).long()] = True
        self.most_elements.copy_((counts > 0).sum(1).max())

    def _size(self) -> Tensor:
        """(N + 1) log probabilities of the number of atoms."""
        return self.size.masked_fill(~self.sizes, -torch.inf).log_softmax(-1)

    def _part(self, left: Tensor, last: Tensor, parts: Tensor) -> Tensor:
        """(B, N + 1) log probabilities of the next part.

        Args:
            left: (B,) atoms that are not shared out yet, at least 1.
            last: (B,) the part before, 0 before the first.
            parts: (B, N + 1) how often each part has been chosen.
        """
        sizes = torch.arange(self.max_atoms + 1, device=left.device)
        features = [one_hot(left, self.max_atoms + 1), one_hot(last, self.max_atoms + 1), parts]
        logits = self.parts(torch.cat(features, 1).to(self.size))
        bound = torch.where(last > 0, last, self.max_atoms)
        after = left[:, None] - sizes
        # What is left must fit into the elements that are left, none with more than this part.
        more = (self.most_elements - 1 - parts.sum(1))[:, None] * sizes
        allowed = (sizes > 0) & (sizes <= bound[:, None]) & (after >= 0) & (after <= more)
        return logits.masked_fill(~allowed, -torch.inf).log_softmax(-1)

    def element(
        self, part: Tensor, last: Tensor, chosen: Tensor, left: Tensor, parts: Tensor
    ) -> Tensor:
        """(B, Z) log probabilities of the element of a part.

        Args:
            part: (B,) its atoms.
            last: (B,) the element before if its part was equal, -1 otherwise.
            chosen: (B, Z) atoms of the elements chosen so far.
            left: (B, N + 1) how often each part has still to be given an element, this one too.
            parts: (B, N + 1) how often each part occurs.
        """
        present = one_hot(part, self.max_atoms + 1)
        before = one_hot(last + 1, NUM_SPECIES + 1)[:, 1:]
        features = [chosen, chosen > 0, before, present, left, parts]
        logits = self.elements(torch.cat(features, 1).to(self.size))
        free = self.known_elements & (chosen == 0)
        free = free & (torch.arange(NUM_SPECIES, device=last.device) > last[:, None])
        # Parts as large as this one take elements further on: enough must be free there.
        above = free.flip(1).cumsum(1).flip(1)
        allowed = free & (above >= left.gather(1, part[:, None]))
        return logits.masked_fill(~allowed, -torch.inf).log_softmax(-1)

    def log_prob(self, counts: Tensor) -> Tensor:
        """(B,) log probability of compositions ``counts`` (B, Z), nats."""
        known = self.known_elements[None].expand(len(counts), -1) | (counts == 0)
        possible = known.all(1) & ((counts > 0).sum(1) <= self.most_elements)
        possible = possible & self.sizes[counts.sum(1).long()]
        total = counts.new_full((len(counts),), -torch.inf)
        if possible.any():
            total = total.masked_scatter(possible, self._log_prob(counts[possible]))
        return total

    def _log_prob(self, counts: Tensor) -> Tensor:
        written = _Written.of(counts)
        part, element = written.part, written.element
        live = part > 0
        kinds = one_hot(part, self.max_atoms + 1) * live[..., None]
        before = _before(kinds)
        chosen = _before(one_hot(element, NUM_SPECIES) * part[..., None])
        equal = (_previous(part) == part) & live
        last = torch.where(equal, _previous(element), -1)
        parts = kinds.sum(1, keepdim=True).expand_as(kinds)
        log = self.element(
            part[live], last[live], chosen[live], (parts - before)[live], parts[live]
        )
        by_element = log.gather(1, element[live][:, None])[:, 0]
        places = torch.zeros_like(part, dtype=by_element.dtype)
        return self.log_prob_of_shares(part) + places.masked_scatter(live, by_element).sum(1)

    def log_prob_of_shares(self, shares: Tensor) -> Tensor:
        """(R,) log probability of ``shares`` (R, K) int64 in falling order, zeros after the last.

        That is of N and of how the atoms are shared, whichever the elements are.
        """
        live, size = shares > 0, shares.sum(1)
        before = _before(one_hot(shares, self.max_atoms + 1) * live[..., None])
        left = size[:, None] - _before(shares)
        log = self._part(left[live], _previous(shares)[live], before[live])
        by_part = log.gather(1, shares[live][:, None])[:, 0]
        places = torch.zeros_like(shares, dtype=by_part.dtype)
        return self._size()[size] + places.masked_scatter(live, by_part).sum(1)

    @torch.no_grad()
    def sample(self, uniform: Tensor) -> Tensor:
        """(B, Z) counts of atoms from uniform numbers (B, :attr:`draws`) in [0, 1)."""
        draw = iter(uniform.unbind(1))
        size = choose(self._size().expand(len(uniform), -1), next(draw))
        left, part, parts = size, torch.zeros_like(size), one_hot(size, self.max_atoms + 1) * 0
        rows = []
        for _ in range(int(self.most_elements)):
            log = self._part(left.clamp(min=1), part, parts)
            part = torch.where(left > 0, choose(log, next(draw)), 0)
            parts = parts + one_hot(part, self.max_atoms + 1) * (part > 0)[:, None]
            left = left - part
            rows.append(part)
        draw = iter(uniform[:, 1 + self.max_atoms :].unbind(1))
        counts = uniform.new_zeros(len(uniform), NUM_SPECIES)
        last, before, todo = torch.full_like(size, -1), torch.zeros_like(size), parts
        for part in rows:
            open_ = (part > 0).nonzero()[:, 0]
            if not len(open_):
                break
            own = part[open_]
            equal = torch.where(own == before[open_], last[open_], -1)
            log = self.element(own, equal, counts[open_], todo[open_], parts[open_])
            element = choose(log, next(draw)[open_])
            counts[open_, element] = own.to(counts)
            last, before = last.index_put((open_,), element), part
            todo = todo - one_hot(part, self.max_atoms + 1) * (part > 0)[:, None]
        return counts


def choose(log: Tensor, draw: Tensor) -> Tensor:
    """(B,) a class of each row of log probabilities (B, C), from uniform numbers (B,).

    Never one of probability zero.
    """
    edges = log.exp().cumsum(-1)
    chosen = torch.searchsorted(edges, (draw * edges[:, -1])[:, None], right=True).squeeze(1)
    # Rounding may lead beyond the last class, or the last possible one.
    possible = (log > -torch.inf).flip(1).int().argmax(1)
    return torch.minimum(chosen, log.shape[1] - 1 - possible)
