"""Lattice algebra: (…, 3, 3) matrices whose rows are the cell vectors, in Å."""

from __future__ import annotations

import torch
from torch import Tensor


def volume(lattice: Tensor) -> Tensor:
    """Return the cell volumes (…,), Å³, which are never negative."""
    a, b, c = lattice.unbind(-2)
    return (a * torch.linalg.cross(b, c)).sum(-1).abs()


def inverse(lattice: Tensor) -> Tensor:
    """Return the inverse (…, 3, 3), with which ``frac_coords = cart @ inverse(lattice)``.

    Its columns are the reciprocal vectors (without 2π), Å⁻¹.
    """
    a, b, c = lattice.unbind(-2)
    bc = torch.linalg.cross(b, c)
    columns = torch.stack([bc, torch.linalg.cross(c, a), torch.linalg.cross(a, b)], dim=-1)
    return columns / (a * bc).sum(-1)[..., None, None]


def images_within(lattice: Tensor, radius: Tensor) -> Tensor:
    """Return the images (B, 3) to search on each side of an axis for neighbors within ``radius``.

    For fractional differences within ±½, |n + ½| ≤ radius·‖b*‖ bounds the image n along an axis
    with reciprocal vector b*.

    Args:
        lattice: (B, 3, 3) Å.
        radius: (B,) Å.
    """
    reach = radius[:, None] * inverse(lattice).norm(dim=-2)
    return (reach + 0.5).floor().long()


def from_parameters(lengths: Tensor, angles: Tensor) -> Tensor:
    """Return lattices (B, 3, 3), Å, with c along z and a in the xz plane, as in pymatgen.

    Args:
        lengths: (B, 3) a, b, c in Å.
        angles: (B, 3) α, β, γ in degrees.
    """
    cos = angles.deg2rad().cos()
    sin = angles.deg2rad().sin()
    cos_gamma_star = (cos[:, 0] * cos[:, 1] - cos[:, 2]) / (sin[:, 0] * sin[:, 1])
    cos_gamma_star = cos_gamma_star.clamp(-1, 1)
    sin_gamma_star = (1 - cos_gamma_star**2).sqrt()
    a, b, c = lengths.unbind(-1)
    zero = torch.zeros_like(a)
    rows = [
        torch.stack([a * sin[:, 1], zero, a * cos[:, 1]], -1),
        torch.stack(
            [-b * sin[:, 0] * cos_gamma_star, b * sin[:, 0] * sin_gamma_star, b * cos[:, 0]], -1
        ),
        torch.stack([zero, zero, c], -1),
    ]
    return torch.stack(rows, dim=-2)


def to_parameters(lattice: Tensor) -> tuple[Tensor, Tensor]:
    """Return the lengths (B, 3) in Å and the angles (B, 3) in degrees."""
    lengths = lattice.norm(dim=-1)
    unit = lattice / lengths[..., None]
    a, b, c = unit.unbind(-2)
    cosines = torch.stack([(b * c).sum(-1), (a * c).sum(-1), (a * b).sum(-1)], -1)
    return lengths, cosines.clamp(-1, 1).arccos().rad2deg()


_SYMMETRIC = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))  # xx yy zz yz xz xy


def _length_scale(num_atoms: Tensor, like: Tensor) -> Tensor:
    """Return N^(1/3) (B, 1, 1), computed in double precision.

    Single-precision powers round by the position of a number in its tensor.
    """
    return (num_atoms.double() ** (1 / 3)).to(like)[:, None, None]


def to_log_metric(lattice: Tensor, num_atoms: Tensor) -> Tensor:
    """Return the upper triangle (B, 6) of ½ log(L Lᵀ / N^(2/3)).

    The metric tensor does not change under rotation, and any six numbers are the logarithm of some
    metric. A network can therefore predict them freely: it cannot leave the set of cells, and the
    map has no singularity.
    """
    metric = (lattice @ lattice.mT) / _length_scale(num_atoms, lattice) ** 2
    values, vectors = torch.linalg.eigh(metric)
    log = vectors @ torch.diag_embed(0.5 * values.log()) @ vectors.mT
    return log[:, _SYMMETRIC[0], _SYMMETRIC[1]]


def from_log_metric(log_metric: Tensor, num_atoms: Tensor) -> Tensor:
    """Return lattices (B, 3, 3), Å, in pymatgen's orientation; inverse of :func:`to_log_metric`."""
    log = log_metric.new_zeros(len(log_metric), 3, 3)
    log[:, _SYMMETRIC[0], _SYMMETRIC[1]] = log_metric
    log[:, _SYMMETRIC[1], _SYMMETRIC[0]] = log_metric
    return from_metric(torch.linalg.matrix_exp(2 * log) * _length_scale(num_atoms, log) ** 2)


def from_metric(metric: Tensor) -> Tensor:
    """Return lattices (B, 3, 3), Å, in pymatgen's orientation from metrics (B, 3, 3), Å²."""
    lengths = metric.diagonal(dim1=-2, dim2=-1).sqrt()
    cosines = metric / (lengths[:, :, None] * lengths[:, None, :])
    angles = torch.stack([cosines[:, 1, 2], cosines[:, 0, 2], cosines[:, 0, 1]], -1)
    return from_parameters(lengths, angles.clamp(-1, 1).arccos().rad2deg())
