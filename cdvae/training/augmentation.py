"""Distorted copies of crystals, so that an autoencoder of a small data set generalizes."""

from __future__ import annotations

import torch
from torch import Tensor

from cdvae.geometry.crystal import CrystalBatch
from cdvae.geometry.lattice import inverse
from cdvae.geometry.torus import wrap

DISPLACEMENT = 0.08
"""Largest width of the displacements, in units of (V/N)^(1/3)."""
STRAIN = 0.04
"""Width of each component of the strain."""


def perturb(
    crystals: CrystalBatch, properties: Tensor, share: float, rng: torch.Generator
) -> tuple[CrystalBatch, Tensor, Tensor]:
    """Displace and strain a random ``share`` of the crystals.

    Encoding and decoding is a task of geometry, for which distorted crystals are good examples,
    too. Their properties (B, P) are unknown and become NaN.

    Returns:
        The crystals, the properties (B, P) and a mask (B,) of the distorted crystals.
    """
    b, device = len(crystals), crystals.lattice.device

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=rng, device=device)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, device=device)

    chosen = (draw(b) < share).to(crystals.lattice)
    width = DISPLACEMENT * draw(b) * chosen * crystals.length_scale
    step = normal(*crystals.frac_coords.shape) * width[crystals.batch, None]
    frac_coords = crystals.frac_coords + torch.einsum(
        "ai,aij->aj", step, inverse(crystals.lattice)[crystals.batch]
    )
    strain = STRAIN * normal(b, 3, 3) * chosen[:, None, None]
    lattice = crystals.lattice + crystals.lattice @ (strain + strain.mT) / 2
    unknown = torch.where(chosen > 0, torch.nan, 0.0)[:, None]
    distorted = crystals.replace(frac_coords=wrap(frac_coords), lattice=lattice)
    return distorted, properties + unknown, chosen > 0
