"""An autoregressive density over the space group and the Wyckoff positions of a composition."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, scaled_dot_product_attention

from cdvae.geometry.elements import NUM_SPECIES
from cdvae.linear import Linear
from cdvae.prior.composition_prior import choose
from cdvae.prior.site_sequences import (
    SiteChoice,
    SiteSequences,
    SiteState,
    as_sequences,
    shares_of_elements,
)
from cdvae.symmetry.group_cells import Group
from cdvae.symmetry.site_solver import NUM_POSITIONS, group_has_sites, position_number

GROUPS = 230
MOST_POSITIONS = 27
DROPOUT = 0.2
FEATURES = 15


@dataclass(frozen=True)
class SitePriorConfig:
    """Size of the network."""

    width: int = 128
    layers: int = 4
    heads: int = 4


class _Block(nn.Module):
    """Causal self-attention, and a feed-forward layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in "ab")
        self.qkv = Linear(width, 3 * width)
        self.out = Linear(width, width)
        self.feed_forward = nn.Sequential(
            Linear(width, 4 * width), nn.GELU(), Linear(4 * width, width)
        )
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (
            self.qkv(self.norms[0](x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        )
        mixed = scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.dropout(self.out(mixed.transpose(1, 2).flatten(2)))
        return x + self.dropout(self.feed_forward(self.norms[1](x)))


class SitePrior(nn.Module):
    """First the space group of a composition, then an orbit after the other.

    The elements come in the order of `elements_in_order`, and the positions of each element ascend,
    so each assignment has one sequence. Every drawn assignment places all atoms (cf. WyFormer,
    Kazeev et al. 2025).
    """

    features: Tensor  # (NUM_POSITIONS + 1, FEATURES)
    positions_of: Tensor  # (231, P) int64 `position_number` of those of each group, 0 for padding
    known_groups: Tensor  # (231,) bool

    def __init__(self, max_atoms: int, config: SitePriorConfig) -> None:
        super().__init__()
        width = config.width
        self.max_atoms = max_atoms
        self.element = nn.Embedding(NUM_SPECIES + 1, width, padding_idx=0)
        self.share = nn.Embedding(max_atoms + 1, width)
        self.size = nn.Embedding(max_atoms + 1, width)
        self.group = nn.Embedding(GROUPS + 1, width)
        self.position = nn.Embedding(NUM_POSITIONS + 1, width)
        self.feature = Linear(FEATURES, width)
        self.left = nn.Embedding(max_atoms + 1, width)
        self.next_element = nn.Embedding(NUM_SPECIES + 1, width)
        self.blocks = nn.ModuleList(_Block(width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.to_group = Linear(width, GROUPS)
        self.to_position = nn.Embedding(NUM_POSITIONS + 1, width)
        self.to_feature = Linear(FEATURES, width, bias=False)
        self.to_metric = Linear(width, 6)
        self.register_buffer("features", torch.zeros(NUM_POSITIONS + 1, FEATURES))
        self.register_buffer(
            "positions_of", torch.zeros(GROUPS + 1, MOST_POSITIONS, dtype=torch.int64)
        )
        self.register_buffer("known_groups", torch.ones(GROUPS + 1, dtype=torch.bool))
        for embedding in (self.position, self.to_position):
            nn.init.normal_(embedding.weight, std=0.05)

    def fit_tables(self, spacegroup: Tensor) -> None:
        """Set the features of all positions, and allow only the groups in ``spacegroup`` (B,)."""
        for number in range(1, GROUPS + 1):
            for index, row in enumerate(_position_features(number)):
                self.features[position_number(number, index)] = row
                self.positions_of[number, index] = position_number(number, index)
        self.known_groups.zero_()[spacegroup] = True
        self.known_groups[0] = False

    def log_prob(self, sequences: SiteSequences) -> tuple[Tensor, Tensor, Tensor]:
        """Return the log probabilities (B,) of the groups, and of the orbits given the group.

        The third result is the log metric (B, 6) of the cell to expect, in the axes of the group.
        """
        group, position, metric = self._read(sequences)
        group_log = group.gather(1, sequences.spacegroup[:, None] - 1)[:, 0]
        first = self.positions_of[sequences.spacegroup, :1]
        live = sequences.chosen > 0
        index = (sequences.chosen - first).clamp(min=0)
        chosen = position[:, :-1].gather(2, index[..., None])[..., 0]
        return group_log, torch.where(live, chosen, 0.0).sum(1), metric

    def _read(self, s: SiteSequences) -> tuple[Tensor, Tensor, Tensor]:
        """Return log probabilities of the group (B, 230) and of each orbit (B, T + 1, P).

        The third result is the log metric (B, 6), read after the last orbit.

        What the rules exclude in a sequence has probability zero, except that the orbits chosen
        must leave sites for the rest: see `cdvae.prior.site_sequences`.
        """
        batch, count = s.elements.shape
        size = self.size(s.shares.sum(1))
        elements = self.element(s.elements) + self.share(s.shares) + size[:, None]
        end = size  # the token at which the group is read
        upcoming = self.next_element(s.next_element) + self.left(s.next_left)
        start = self.group(s.spacegroup)[:, None]
        orbits = self.position(s.chosen) + self.feature(self.features[s.chosen])
        orbits = orbits + self.element(s.chosen_element)
        tail = torch.cat([start, orbits], 1) + upcoming
        x = torch.cat([elements, end[:, None], tail], 1)
        length = x.shape[1]
        index = torch.arange(length, device=x.device)
        # The elements and the token after them see each other; the rest sees what came before.
        seen = (index[:, None] >= index) | ((index[:, None] <= count) & (index <= count))
        live = torch.cat([s.elements > 0, torch.ones(batch, 2, dtype=torch.bool), s.chosen > 0], 1)
        mask = (seen[None] & live[:, None]) | torch.eye(length, dtype=torch.bool)
        for block in self.blocks:
            x = block(x, mask[:, None])
        x = self.norm(x)
        group = self.to_group(x[:, count]).masked_fill(~self.known_groups[1:], -torch.inf)
        local = self.positions_of[s.spacegroup]  # (B, P)
        readers = self.to_position(local) + self.to_feature(self.features[local])
        logits = x[:, count + 1 :] @ readers.transpose(1, 2)
        # The positions of one element ascend.
        again = s.chosen * (s.chosen_element == s.next_element[:, 1:])
        lowest = torch.cat([again.new_zeros(batch, 1), again], 1)[..., None]
        allowed = (local > 0)[:, None] & (local[:, None] >= lowest)
        # A finished crystal has no next orbit: its row stays finite.
        allowed = allowed | (s.next_element == 0)[..., None]
        orbits = logits.masked_fill(~allowed, -torch.inf).log_softmax(-1)
        last = x[torch.arange(batch), count + 1 + (s.chosen > 0).sum(1)]
        return group.log_softmax(-1), orbits, self.to_metric(last)

    @property
    def draws(self) -> int:
        """The number of uniform numbers that :meth:`sample` needs for one crystal."""
        return 1 + self.max_atoms

    @torch.no_grad()
    def sample(
        self, counts: Tensor, uniform: Tensor, spacegroup: int | None = None
    ) -> list[SiteChoice]:
        """Return the sites of compositions ``counts`` (B, Z).

        Args:
            counts: atoms of each element.
            uniform: (B, :attr:`draws`) numbers in [0, 1).
            spacegroup: given, for all; None to draw it.
        """
        numbers = shares_of_elements(counts)
        states = [SiteState(shares, 0) for shares in numbers]
        if spacegroup is None:
            log, _, _ = self._read(as_sequences(states))
            for row, state in enumerate(states):
                for number in (log[row] > -torch.inf).nonzero()[:, 0].tolist():
                    if not group_has_sites(number + 1, [n for _, n in state.elements]):
                        log[row, number] = -torch.inf
            groups = (choose(log.log_softmax(1), uniform[:, 0]) + 1).tolist()
        else:
            groups = [spacegroup] * len(states)
        states = [SiteState(shares, group) for shares, group in zip(numbers, groups, strict=True)]
        for step in range(self.max_atoms):
            rows = [i for i, state in enumerate(states) if not state.done]
            if not rows:
                break
            _, log, _ = self._read(as_sequences([states[i] for i in rows]))
            last = torch.tensor([len(states[i].orbits) for i in rows])
            log = log[torch.arange(len(rows)), last]
            masks = torch.full_like(log, -torch.inf)
            for place, row in enumerate(rows):
                state = states[row]
                masks[place, state.allowed()] = 0.0
            picked = choose((log + masks).log_softmax(1), uniform[rows, 1 + step]).tolist()
            for row, index in zip(rows, picked, strict=True):
                states[row].add(index)
        _, _, metric = self._read(as_sequences(states))
        return [state.choice(row) for state, row in zip(states, metric, strict=True)]


def _position_features(number: int) -> Tensor:
    """Return what positions of different groups have in common (P, FEATURES)."""
    group = Group.of(number)
    system = _crystal_system(number)
    rows = []
    for position in group.positions:
        freedom = round(float(position.freedom.trace()))
        rows.append(
            torch.cat(
                [
                    torch.tensor([position.multiplicity]).log2() / 3,
                    torch.tensor([float(position.stabilizer)]).log2() / 3,
                    torch.tensor([float(len(group.ops))]).log2() / 3,
                    torch.tensor([number / GROUPS]),
                    one_hot(torch.tensor(freedom), 4).float(),
                    one_hot(torch.tensor(system), 7).float(),
                ]
            )
        )
    return torch.stack(rows)


def _crystal_system(number: int) -> int:
    """Return 0 (triclinic) to 6 (cubic)."""
    return sum(number > last for last in (2, 15, 74, 142, 167, 194))
