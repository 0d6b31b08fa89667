"""Which compositions exist: an autoregressive density over the atoms of a cell."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from cdvae.elements import NUM_SPECIES

END = 0
"""Class that closes a composition; class z adds one atom of atomic number z."""


class CompositionPrior(nn.Module):
    """Adds atoms in order of atomic number until the cell is complete.

    A composition is a multiset, and in this order it is written in one way only, so the product of
    the conditionals is its probability. Chemistry's rules (how many anions to which cations) are
    discrete, and a density over them is learned in minutes, where a smooth map from noise to z
    blurs them.
    """

    def __init__(self, max_atoms: int, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(2 * NUM_SPECIES + 1, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, NUM_SPECIES + 1),
        )
        self.register_buffer("species", torch.ones(NUM_SPECIES, dtype=torch.bool))
        self.register_buffer("sizes", torch.arange(max_atoms + 1) > 0)

    def restrict_to(self, counts: Tensor) -> None:
        """Allows only the elements and the numbers of atoms that occur in ``counts`` (N, Z)."""
        self.species.copy_(counts.sum(0) > 0)
        self.sizes.zero_()[counts.sum(1).long()] = True

    def forward(self, counts: Tensor, last: Tensor) -> Tensor:
        """(B, Z + 1) log probabilities of what comes next.

        Args:
            counts: (B, Z) atoms so far.
            last: (B,) atomic number of the last one, 0 before the first.
        """
        so_far = one_hot(last, NUM_SPECIES + 1).to(counts.dtype)
        logits = self.body(torch.cat([counts, so_far], 1))
        classes = torch.arange(1, NUM_SPECIES + 1, device=last.device)
        size = counts.sum(-1).long()
        growing = size < self.sizes.nonzero().max()
        allowed = self.species & (classes >= last[:, None]) & growing[:, None]
        may_end = self.sizes[size] | ~growing
        allowed = torch.cat([may_end[:, None], allowed], 1)
        return logits.masked_fill(~allowed, -torch.inf).log_softmax(-1)

    def log_prob(self, counts: Tensor) -> Tensor:
        """(B,) log probability of compositions ``counts`` (B, Z), nats."""
        n_atoms = counts.sum(-1).long()
        owner = torch.arange(len(counts), device=counts.device).repeat_interleave(n_atoms)
        classes = torch.arange(1, NUM_SPECIES + 1, device=counts.device)
        species = classes.repeat(len(counts)).repeat_interleave(counts.long().flatten())
        first = n_atoms.cumsum(0) - n_atoms
        place = torch.arange(len(species), device=counts.device) - first[owner]
        sequence = counts.new_zeros(len(counts), int(n_atoms.max()) + 1, dtype=torch.int64)
        sequence[owner, place] = species
        steps = one_hot(sequence, NUM_SPECIES + 1)[:, :, 1:].to(counts.dtype)
        before = steps.cumsum(1) - steps
        last = torch.cat([torch.zeros_like(sequence[:, :1]), sequence[:, :-1]], 1)
        live = torch.arange(sequence.shape[1], device=counts.device) <= n_atoms[:, None]
        log = self(before[live], last[live])
        chosen = log.gather(1, sequence[live][:, None]).squeeze(1)
        total = chosen.new_zeros(live.shape)
        total[live] = chosen
        return total.sum(1)

    @torch.no_grad()
    def sample(self, uniform: Tensor) -> Tensor:
        """(B, Z) counts of atoms from uniform numbers (B, max_atoms) in [0, 1)."""
        counts = uniform.new_zeros(len(uniform), NUM_SPECIES)
        last = torch.zeros(len(uniform), dtype=torch.int64, device=uniform.device)
        open_ = torch.ones_like(last, dtype=torch.bool)
        for draw in uniform.unbind(1):
            edges = self(counts, last).exp().cumsum(-1)
            # Scaled by the total, so that rounding can never choose beyond the last class.
            chosen = torch.searchsorted(edges, (draw * edges[:, -1])[:, None], right=True)
            chosen = torch.where(open_, chosen.squeeze(1).clamp(max=NUM_SPECIES), END)
            open_ = open_ & (chosen != END)
            counts = counts + one_hot(chosen, NUM_SPECIES + 1)[:, 1:].to(counts.dtype)
            last = torch.where(open_, chosen, last)
        return counts
