"""The joint law of z and the atom latents of a composition, by flow matching.

A transformer over one token for z and one for each atom (Peebles and Xie 2023, "DiT") learns the
velocity that carries Gaussian noise to the encoder's latents along straight paths (Lipman et al.
2023). Atoms are told apart by their element and their noise alone: there are no positions, so the
law is the same for every order of the atoms. A space group and the Wyckoff position of each atom
may be given: the latents then say little that the sites do not. z and the atom latents have a time
each, so one network draws both together, or the atom latents of a given z.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from cdvae.geometry.elements import NUM_SPECIES
from cdvae.linear import Linear
from cdvae.symmetry.site_solver import NUM_POSITIONS

TIME_FEATURES = 64


@dataclass(frozen=True)
class LatentFlowConfig:
    """Size of the network."""

    width: int = 256
    layers: int = 6
    heads: int = 8


@dataclass(frozen=True)
class LatentSet:
    """The latents of B crystals, padded to N atoms; noise, data or a velocity."""

    z: Tensor  # (B, D)
    atoms: Tensor  # (B, N, K)

    def lerp(self, other: LatentSet, t: LatentTime) -> LatentSet:
        """The point of the straight path from here to ``other`` at time ``t``."""
        return LatentSet(
            torch.lerp(self.z, other.z, t.z[:, None]),
            torch.lerp(self.atoms, other.atoms, t.atoms[:, None, None]),
        )


@dataclass(frozen=True)
class LatentTime:
    """How far each crystal is on its path, 0 (noise) to 1 (data)."""

    z: Tensor  # (B,)
    atoms: Tensor  # (B,)


@dataclass(frozen=True)
class FlowCondition:
    """The atoms of B crystals, padded to N, for which latents are drawn."""

    elements: Tensor  # (B, N, Z) one-hot; zeros for padding
    spacegroup: Tensor  # (B,) int64; 0 where it is unknown
    positions: Tensor  # (B, N) int64 as in `position_number`; 0 where it is unknown
    present: Tensor | None = None  # (B, N) bool, False for padding; None where there is none

    def without_sites(self, rows: Tensor) -> FlowCondition:
        """Return the same atoms, with the sites of the crystals ``rows`` (B,) bool unknown."""
        return FlowCondition(
            self.elements,
            self.spacegroup.masked_fill(rows, 0),
            self.positions.masked_fill(rows[:, None], 0),
            self.present,
        )


class _Attention(nn.Module):
    """Multi-head self-attention among the tokens of each crystal."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * width)
        self.out = Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(mixed.transpose(1, 2).flatten(2))


class _Block(nn.Module):
    """Attention and a feed-forward layer, both scaled, shifted and gated by the times."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=False) for _ in "ab")
        self.attention = _Attention(width, heads)
        self.feed_forward = nn.Sequential(
            Linear(width, 4 * width), nn.GELU(approximate="tanh"), Linear(4 * width, width)
        )
        # The modulation is shared among the blocks, which only add to it (PixArt-α, Chen et al.).
        self.offset = nn.Parameter(torch.randn(6, width) / width**0.5)

    def forward(self, x: Tensor, modulation: Tensor, mask: Tensor | None) -> Tensor:
        shift, scale, gate, shift2, scale2, gate2 = (modulation + self.offset).unbind(2)
        x = x + gate * self.attention(self.norms[0](x) * (1 + scale) + shift, mask)
        return x + gate2 * self.feed_forward(self.norms[1](x) * (1 + scale2) + shift2)


class LatentFlow(nn.Module):
    """The velocity of z and of the atom latents, and what is drawn by following it.

    Latents are scaled to unit variance as a whole, not by component, so that the components that
    say little also count little in the loss. Buffers kept with the weights: ``z_mean`` (D,) and
    ``z_scale`` (), ``atom_mean`` (K,) and ``atom_scale`` ().
    """

    z_mean: Tensor
    z_scale: Tensor
    atom_mean: Tensor
    atom_scale: Tensor

    def __init__(self, latent_dim: int, atom_latent_dim: int, config: LatentFlowConfig) -> None:
        super().__init__()
        width = config.width
        self.register_buffer("z_mean", torch.zeros(latent_dim))
        self.register_buffer("z_scale", torch.ones(()))
        self.register_buffer("atom_mean", torch.zeros(atom_latent_dim))
        self.register_buffer("atom_scale", torch.ones(()))
        self.enter_z = Linear(latent_dim, width)
        self.enter_atoms = Linear(atom_latent_dim, width)
        self.elements = Linear(NUM_SPECIES, width, bias=False)
        self.spacegroups = nn.Embedding(231, width)
        self.positions = nn.Embedding(NUM_POSITIONS + 1, width)
        self.size = Linear(2, width)
        self.time = nn.Sequential(
            Linear(2 * TIME_FEATURES, width), nn.SiLU(), Linear(width, width), nn.SiLU()
        )
        self.modulate = Linear(width, 6 * width)
        self.blocks = nn.ModuleList(_Block(width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.leave_z = Linear(width, latent_dim)
        self.leave_atoms = Linear(width, atom_latent_dim)
        nn.init.normal_(self.elements.weight, std=0.3)
        for embedding in (self.spacegroups, self.positions):
            nn.init.zeros_(embedding.weight)
        for layer in (self.modulate, self.leave_z, self.leave_atoms):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def fit_scalers(self, z: Tensor, atoms: Tensor) -> None:
        """Sets the buffers from the latents ``z`` (N, D) and ``atoms`` (A, K) of training data."""
        for mean, scale, values in (
            (self.z_mean, self.z_scale, z),
            (self.atom_mean, self.atom_scale, atoms),
        ):
            mean.copy_(values.mean(0))
            scale.copy_((values - values.mean(0)).square().mean().sqrt())

    def scaled(self, latents: LatentSet) -> LatentSet:
        """Latents of the encoder in the units of the flow."""
        return LatentSet(
            (latents.z - self.z_mean) / self.z_scale,
            (latents.atoms - self.atom_mean) / self.atom_scale,
        )

    def unscaled(self, latents: LatentSet) -> LatentSet:
        """The opposite of :meth:`scaled`."""
        return LatentSet(
            latents.z * self.z_scale + self.z_mean,
            latents.atoms * self.atom_scale + self.atom_mean,
        )

    def forward(self, x: LatentSet, t: LatentTime, condition: FlowCondition) -> LatentSet:
        """Return the velocity at ``x``, latents on the way in the units of the flow, at ``t``."""
        size = condition.elements.sum((1, 2))[:, None]
        glob = self.enter_z(x.z) + self.size(torch.cat([size.log(), size / 10], 1))
        glob = glob + self.spacegroups(condition.spacegroup)
        atoms = self.enter_atoms(x.atoms) + self.elements(condition.elements)
        atoms = atoms + self.positions(condition.positions)
        hidden = torch.cat([glob[:, None], atoms], 1)
        mask = None
        if condition.present is not None:
            mask = nn.functional.pad(condition.present, (1, 0), value=True)[:, None, None]
        features = torch.cat([_time_features(t.z), _time_features(t.atoms)], 1)
        modulation = self.modulate(self.time(features)).unflatten(1, (1, 6, -1))
        for block in self.blocks:
            hidden = block(hidden, modulation, mask)
        hidden = self.norm(hidden)
        return LatentSet(self.leave_z(hidden[:, 0]), self.leave_atoms(hidden[:, 1:]))

    def sample(self, noise: LatentSet, condition: FlowCondition, steps: int) -> LatentSet:
        """Return latents of new crystals, in the encoder's units, by Heun's method.

        Args:
            noise: standard normal; crystals of one size.
            condition: their atoms.
            steps: two evaluations each.
        """
        x = noise
        for start, end in _time_steps(steps, noise.z):
            x = self._heun_step(x, condition, start, end, follow_z=True)
        return self.unscaled(x)

    def sample_atoms(
        self, z: Tensor, noise: Tensor, condition: FlowCondition, steps: int
    ) -> Tensor:
        """Return atom latents (B, N, K) for given ``z`` (B, D), from ``noise`` (B, N, K)."""
        x = LatentSet(self.scaled(LatentSet(z, noise)).z, noise)
        for start, end in _time_steps(steps, z):
            x = self._heun_step(x, condition, start, end, follow_z=False)
        return self.unscaled(x).atoms

    def _heun_step(
        self, x: LatentSet, condition: FlowCondition, start: Tensor, end: Tensor, *, follow_z: bool
    ) -> LatentSet:
        def velocity(at: LatentSet, time: Tensor) -> LatentSet:
            times = time.expand(len(at.z))
            z_times = times if follow_z else torch.ones_like(times)
            v = self(at, LatentTime(z_times, times), condition)
            return v if follow_z else LatentSet(torch.zeros_like(v.z), v.atoms)

        step = end - start
        first = velocity(x, start)
        ahead = LatentSet(x.z + step * first.z, x.atoms + step * first.atoms)
        second = velocity(ahead, end)
        return LatentSet(
            x.z + step / 2 * (first.z + second.z), x.atoms + step / 2 * (first.atoms + second.atoms)
        )


def _time_features(t: Tensor) -> Tensor:
    """(B, TIME_FEATURES) sines and cosines of ``t`` (B,)."""
    frequency = torch.logspace(0, 2, TIME_FEATURES // 2, device=t.device) * math.pi / 2
    phase = t[:, None] * frequency
    return torch.cat([phase.sin(), phase.cos()], 1)


def _time_steps(steps: int, like: Tensor) -> itertools.pairwise[tuple[Tensor, Tensor]]:
    """Pairs of times that lead from 0 to 1, denser towards the data."""
    u = torch.linspace(0, 1, steps + 1, dtype=like.dtype, device=like.device)
    return itertools.pairwise((1 - (1 - u) ** 1.5).unbind())
