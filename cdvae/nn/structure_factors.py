"""The position of an atom in its cell without an origin: phases of the shortest waves of the cell.

Messages within a cutoff describe the surroundings of an atom, not its position in the cell. Such a
network cannot tell that an arrangement is right locally but wrong as a whole. The Fourier sums of
Ewald message passing (Kosmala et al., ICML 2023) cover the whole crystal. Here they run over the
shortest wave vectors of the given cell, which is also the cell that the sampler decodes into.
Complex numbers are (real, imaginary) pairs in the last axis.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import silu
from torch_geometric.utils import scatter

from cdvae.geometry.crystal import CrystalBatch
from cdvae.linear import Linear
from cdvae.nn.backbone import mlp


def _wave_vectors() -> list[tuple[int, ...]]:
    """Return wave vectors, one of each ± pair: the axes, twice the axes, others within ±1."""
    axes = [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    near = [h for h in itertools.product((-1, 0, 1), repeat=3) if h > (0, 0, 0) and h not in axes]
    return [*axes, (2, 0, 0), (0, 2, 0), (0, 0, 2), *near]


def _step_pairs() -> list[tuple[int, int]]:
    """Return the indices of h + e and h for each axis e and four short h perpendicular to it."""
    known, pairs = _wave_vectors(), []
    for axis in range(3):
        for across in ((1, 0), (0, 1), (1, 1), (1, -1)):
            below = [*across[:axis], 0, *across[axis:]]
            above = [k + (i == axis) for i, k in enumerate(below)]
            pairs.append((known.index(tuple(above)), known.index(tuple(below))))
    return pairs


AXES = 3
"""The first AXES wave vectors are the axes."""
WAVES = len(_wave_vectors())
STEPS = len(_step_pairs())
CHANNELS = 8
HIDDEN = 192
EXTINCT = 0.02
"""Amplitude of a wave below which its phase is meaningless."""


def waves(crystals: CrystalBatch) -> Tensor:
    """Return exp(2πi h·f) (A, H, 2) for every atom and wave vector h."""
    vectors = torch.tensor(
        _wave_vectors(), dtype=crystals.frac_coords.dtype, device=crystals.frac_coords.device
    )
    phase = 2 * math.pi * crystals.frac_coords @ vectors.T
    return torch.stack([phase.cos(), phase.sin()], -1)


def turned_back(number: Tensor, by: Tensor) -> Tensor:
    """Return ``number`` (…, 2) times the conjugate of ``by`` (…, 2)."""
    a, b = number.unbind(-1)
    c, d = by.unbind(-1)
    return torch.stack([a * c + b * d, b * c - a * d], -1)


def _mean(values: Tensor, crystals: CrystalBatch) -> Tensor:
    """Return the mean (A, …) of ``values`` (A, …) over the crystal of each atom."""
    batch = crystals.batch
    return scatter(values, batch, 0, len(crystals), reduce="mean").index_select(0, batch)


class PhaseEncoder(nn.Module):
    """Features of the position of an atom relative to all atoms of its crystal.

    Every atom j has learned amplitudes a_j, which give S(h) = mean_j a_j exp(2πi h·f_j). An atom
    sees S(h) exp(-2πi h·f), which does not depend on origin, rotation and order of the atoms, and
    the same number scaled to the unit circle, which keeps only the phase. Screw axes and glide
    planes extinguish the waves along the axes. Therefore an atom also sees the steps from one wave
    to the next along an axis, whose phase changes with the position like that of the axis.
    """

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        inputs = (4 * WAVES + 2 * STEPS) * CHANNELS + width
        self.amplitude = Linear(width, CHANNELS)
        self.enter = Linear(inputs, 2 * HIDDEN)
        self.leave = mlp(HIDDEN + inputs, HIDDEN, outputs)

    def forward(self, atoms: Tensor, crystals: CrystalBatch) -> Tensor:
        """Return features (A, outputs) from scalars ``atoms`` (A, S)."""
        wave = waves(crystals)[:, None]  # (A, 1, H, 2)
        amplitude = self.amplitude(atoms)[:, :, None, None]
        total = _mean(amplitude * wave, crystals)
        seen = turned_back(total, wave)
        unit = on_circle(seen)
        steps = wave_steps(unit)
        field = torch.cat([seen.flatten(1), unit.flatten(1), atoms, steps.flatten(1)], 1)
        left, right = self.enter(field).chunk(2, -1)
        return self.leave(torch.cat([left * right, field], 1))


def on_circle(number: Tensor) -> Tensor:
    """Return ``number`` (…, 2) scaled to length 1; numbers below EXTINCT stay small."""
    return number / (number.square().sum(-1, keepdim=True) + EXTINCT**2).sqrt()


def wave_steps(unit: Tensor) -> Tensor:
    """Return the steps (…, STEPS, 2) between waves of ``unit`` (…, H, 2), four along each axis."""
    above, below = torch.tensor(_step_pairs(), device=unit.device).unbind(1)
    return turned_back(unit.index_select(-2, above), unit.index_select(-2, below))


class PhaseReader(nn.Module):
    """The difference between the position that an atom latent encodes and the present one."""

    def __init__(self, atom_latent_dim: int, width: int, vectors: int) -> None:
        super().__init__()
        self.phases = Linear(atom_latent_dim, 2 * WAVES)
        self.enter = Linear(2 * WAVES + width, width)
        self.leave = Linear(width, width + 3 * vectors)
        self.along = Linear(WAVES, 3 * vectors, bias=False)
        for parameter in self.leave.parameters():
            nn.init.zeros_(parameter)  # so that weights without atom latents are a good start

    def differences(self, atom_latents: Tensor, crystals: CrystalBatch) -> Tensor:
        """Return the encoded phases of ``atom_latents`` (A, K) minus the present ones, (A, H, 2).

        Only differences between atoms have a meaning, so all phases are rotated by a common angle
        that makes their mean over the crystal real. The result is 1 for an atom at its position,
        and shorter if the latent is uncertain.
        """
        phases = self.phases(atom_latents).unflatten(1, (WAVES, 2))
        away = turned_back(phases, waves(crystals))
        mean = _mean(away, crystals)
        return turned_back(away, mean / (mean.square().sum(-1, keepdim=True) + 1e-6).sqrt())

    def forward(
        self, atom_latents: Tensor, atoms: Tensor, crystals: CrystalBatch
    ) -> tuple[Tensor, Tensor]:
        """Return scalars (A, S) and vectors (A, 3, V), which are sums of cell vectors.

        Args:
            atom_latents: (A, K).
            atoms: (A, S) scalars so far.
            crystals: the atoms at their present positions.
        """
        difference = self.differences(atom_latents, crystals)
        seen = silu(self.enter(torch.cat([difference.flatten(1), atoms], 1)))
        scalars, along = self.leave(seen).tensor_split([atoms.shape[1]], 1)
        along = along + self.along(difference[..., 1])  # the sines: distance and direction
        cell = (crystals.lattice / crystals.length_scale[:, None, None])[crystals.batch]
        return scalars, torch.einsum("akv,akj->ajv", along.unflatten(1, (3, -1)), cell)
