"""Where an atom is in its cell, said without an origin: phases of the shortest waves of the cell.

A network that passes messages within a cutoff knows what stands around an atom, not where in the
cell the atom is: an arrangement that is right everywhere nearby but wrong as a whole looks right.
The Fourier sums of Ewald message passing (Kosmala et al., ICML 2023) see all of the crystal; here
they run over the shortest wave vectors of the cell that the crystal is given in, which is also the
cell that the sampler decodes into. Phases come as (cosine, sine) pairs in the last axis.
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


def _wave_vectors() -> list[tuple[int, int, int]]:
    """Integer wave vectors up to sign: the axes', their second ones, all others within ±1."""
    axes = [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    near = [h for h in itertools.product((-1, 0, 1), repeat=3) if h > (0, 0, 0) and h not in axes]
    return [*axes, (2, 0, 0), (0, 2, 0), (0, 0, 2), *near]


def _step_pairs() -> list[tuple[int, int]]:
    """Places in the list of h + e and of h, for each axis e and four short h across it."""
    known, pairs = _wave_vectors(), []
    for axis in range(3):
        for across in ((1, 0), (0, 1), (1, 1), (1, -1)):
            below = [*across[:axis], 0, *across[axis:]]
            above = [k + (i == axis) for i, k in enumerate(below)]
            pairs.append((known.index(tuple(above)), known.index(tuple(below))))
    return pairs


AXES = 3
"""The first wave vectors of the list are those of the axes."""
WAVES = len(_wave_vectors())
STEPS = len(_step_pairs())
CHANNELS = 8
HIDDEN = 192
EXTINCT = 0.02
"""Amplitude of a wave about which its phase means nothing any more."""


def waves(crystals: CrystalBatch) -> Tensor:
    """(A, H, 2) exp(2πi h·f) of every atom and wave vector h."""
    vectors = torch.tensor(
        _wave_vectors(), dtype=crystals.frac_coords.dtype, device=crystals.frac_coords.device
    )
    phase = 2 * math.pi * crystals.frac_coords @ vectors.T
    return torch.stack([phase.cos(), phase.sin()], -1)


def turned_back(number: Tensor, by: Tensor) -> Tensor:
    """``number`` times the conjugate of ``by``, both (…, 2)."""
    a, b = number.unbind(-1)
    c, d = by.unbind(-1)
    return torch.stack([a * c + b * d, b * c - a * d], -1)


def _mean(values: Tensor, crystals: CrystalBatch) -> Tensor:
    """(A, …) the mean of ``values`` (A, …) over the crystal of each atom."""
    batch = crystals.batch
    return scatter(values, batch, 0, len(crystals), reduce="mean").index_select(0, batch)


class PhaseEncoder(nn.Module):
    """What there is to say of an atom's place among all atoms of its crystal.

    With learned amplitudes a of every atom, S(h) = mean_j a_j exp(2πi h·f_j), and an atom sees
    S(h) exp(-2πi h·f): the same for any origin, rotation and order of the atoms. It is given as it
    is and brought to the unit circle, where only the phase counts. Screw axes and glide planes
    extinguish just the waves along the axes, so steps from one wave to the next along an axis,
    which turn with the atom as the axis' own wave would, are given too.
    """

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        inputs = (4 * WAVES + 2 * STEPS) * CHANNELS + width
        self.amplitude = Linear(width, CHANNELS)
        self.enter = Linear(inputs, 2 * HIDDEN)
        self.leave = mlp(HIDDEN + inputs, HIDDEN, outputs)

    def forward(self, atoms: Tensor, crystals: CrystalBatch) -> Tensor:
        """(A, outputs) from scalars ``atoms`` (A, S)."""
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
    """``number`` (…, 2) brought to length 1; what is below EXTINCT stays small."""
    return number / (number.square().sum(-1, keepdim=True) + EXTINCT**2).sqrt()


def wave_steps(unit: Tensor) -> Tensor:
    """(…, STEPS, 2) the steps from wave to wave of ``unit`` (…, H, 2), four along each axis."""
    above, below = torch.tensor(_step_pairs(), device=unit.device).unbind(1)
    return turned_back(unit.index_select(-2, above), unit.index_select(-2, below))


class PhaseReader(nn.Module):
    """What the code of an atom says of its place, against the place where the atom is now."""

    def __init__(self, atom_latent_dim: int, width: int, vectors: int) -> None:
        super().__init__()
        self.phases = Linear(atom_latent_dim, 2 * WAVES)
        self.enter = Linear(2 * WAVES + width, width)
        self.leave = Linear(width, width + 3 * vectors)
        self.along = Linear(WAVES, 3 * vectors, bias=False)
        for parameter in self.leave.parameters():
            nn.init.zeros_(parameter)  # so that weights without codes remain a good start

    def differences(self, atom_latents: Tensor, crystals: CrystalBatch) -> Tensor:
        """(A, H, 2) the phases that ``atom_latents`` (A, K) say, less those of the atoms as they
        are.

        Only differences between atoms mean anything: they are turned by a common angle so that
        their mean over the crystal is real. An atom at its place has 1, an unsure code less.
        """
        phases = self.phases(atom_latents).unflatten(1, (WAVES, 2))
        away = turned_back(phases, waves(crystals))
        mean = _mean(away, crystals)
        return turned_back(away, mean / (mean.square().sum(-1, keepdim=True) + 1e-6).sqrt())

    def forward(
        self, atom_latents: Tensor, atoms: Tensor, crystals: CrystalBatch
    ) -> tuple[Tensor, Tensor]:
        """(A, S) for the scalars and (A, 3, V) vectors along those of the cell.

        Args:
            atom_latents: (A, K).
            atoms: (A, S) scalars so far.
            crystals: the atoms as they are.
        """
        difference = self.differences(atom_latents, crystals)
        seen = silu(self.enter(torch.cat([difference.flatten(1), atoms], 1)))
        scalars, along = self.leave(seen).tensor_split([atoms.shape[1]], 1)
        along = along + self.along(difference[..., 1])  # the sines: how far it is, and which way
        cell = (crystals.lattice / crystals.length_scale[:, None, None])[crystals.batch]
        return scalars, torch.einsum("akv,akj->ajv", along.unflatten(1, (3, -1)), cell)
