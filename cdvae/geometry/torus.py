"""The torus of fractional coordinates: wrapping, shortest differences, the wrapped normal."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cdvae.geometry.lattice import images_within, inverse


def wrap(frac_coords: Tensor) -> Tensor:
    """Return ``frac_coords`` modulo 1, in [0, 1): ``% 1`` of a tiny negative rounds up to 1."""
    wrapped = frac_coords % 1
    return torch.where(wrapped >= 1, 0, wrapped)


def wrap_difference(frac_coords: Tensor) -> Tensor:
    """Return fractional differences in [-½, ½]."""
    return frac_coords - frac_coords.round()


def image_grid(reach: Tensor) -> Tensor:
    """Return all integer offsets (M, 3) within ``reach`` (3,) on each axis."""
    axes = [torch.arange(-int(k), int(k) + 1, device=reach.device) for k in reach]
    return torch.cartesian_prod(*axes)


def shortest(difference: Tensor, lattice: Tensor) -> Tensor:
    """Return the shortest periodic Cartesian vectors (A, 3), Å, exact for cells of any shape.

    Args:
        difference: (A, 3) fractional differences.
        lattice: (A, 3, 3) the lattice of each row, Å.
    """
    base = wrap_difference(difference)
    cart = torch.einsum("ai,aij->aj", base, lattice)
    # No image beyond the length of this first guess can be shorter than it.
    reach = images_within(lattice, cart.norm(dim=-1)).amax(0) if len(base) else base.new_zeros(3)
    offsets = image_grid(reach.clamp(min=1)).to(base.dtype)
    images = torch.einsum("ami,aij->amj", base[:, None] + offsets, lattice)
    best = (images**2).sum(-1).argmin(-1)
    return images[torch.arange(len(base), device=base.device), best]


def wrapped_normal_score(difference: Tensor, lattice: Tensor, sigma: Tensor) -> Tensor:
    """Return σ ∇ log p (A, 3), which is O(1), of a normal of width σ wrapped on each torus.

    p(δ) = Σ_n exp(−‖(δ + n) L‖² / 2σ²). The score is zero where σ is far larger than the cell, and
    −δL/σ² of the nearest image where it is far smaller (Jing et al. 2022 on tori; Jiao et al. 2023
    on crystals). Narrow normals are summed over images, wide ones over reciprocal vectors
    (Poisson's formula), so that few terms suffice for cells of any shape.

    Args:
        difference: (A, 3) fractional displacement from the clean position.
        lattice: (A, 3, 3) Å.
        sigma: (A,) Å.
    """
    lengths = lattice.norm(dim=-1)
    wide = sigma > 0.4 * (lengths.amax(-1) * lengths.amin(-1)).sqrt()
    score = torch.empty_like(difference)
    for chosen, formula in ((~wide, _sum_of_images), (wide, _sum_of_waves)):
        rows = chosen.nonzero().squeeze(-1)
        if len(rows):
            score[rows] = formula(wrap_difference(difference[rows]), lattice[rows], sigma[rows])
    return score


def _sum_of_images(difference: Tensor, lattice: Tensor, sigma: Tensor) -> Tensor:
    # Images beyond 5σ weigh less than exp(-12).
    reach = images_within(lattice, 5 * sigma).amax(0).clamp(min=1)
    offsets = image_grid(reach).to(difference)
    cart = torch.einsum("ai,aij->aj", difference, lattice)[:, None] + torch.einsum(
        "mi,aij->amj", offsets, lattice
    )
    log_weight = -(cart**2).sum(-1) / (2 * sigma[:, None] ** 2)
    weight = log_weight.softmax(-1)
    return -(weight[:, :, None] * cart).sum(1) / sigma[:, None]


def _sum_of_waves(difference: Tensor, lattice: Tensor, sigma: Tensor) -> Tensor:
    # p(δ) ∝ Σ_g exp(−2π²σ²‖g‖²) cos 2πn·δ with g = n·(reciprocal vectors); beyond ‖g‖ = 0.8/σ the
    # weight is below 4·10⁻⁶, and n is g's projection on a cell vector.
    reach = (0.8 * lattice.norm(dim=-1) / sigma[:, None]).floor().long().amax(0)
    waves = image_grid(reach).to(difference)
    g = torch.einsum("mi,aji->amj", waves, inverse(lattice))
    weight = (-2 * math.pi**2 * sigma[:, None] ** 2 * g.square().sum(-1)).exp()
    phase = 2 * math.pi * torch.einsum("mi,ai->am", waves, difference)
    density = (weight * phase.cos()).sum(-1)
    slope = -2 * math.pi * ((weight * phase.sin())[:, :, None] * g).sum(1)
    return sigma[:, None] * slope / density[:, None]
