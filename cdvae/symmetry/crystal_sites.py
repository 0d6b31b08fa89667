"""The Wyckoff positions of the crystals of a data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from cdvae.geometry.crystal import CrystalBatch
from cdvae.symmetry.site_detection import find_sites
from cdvae.symmetry.site_solver import position_number

SYMPREC = 0.1
"""Å; tolerance at which a crystal counts as symmetric."""


@dataclass(frozen=True)
class CrystalSites:
    """The space groups of B crystals and the positions of their A atoms; 0 where unknown."""

    spacegroup: Tensor  # (B,) int64
    positions: Tensor  # (A,) int64 as in `cdvae.symmetry.site_solver.position_number`
    basis: Tensor  # (B, 3, 3) int64 as in `cdvae.symmetry.site_detection.OccupiedSites`


def crystal_sites(crystals: CrystalBatch, cache: Path) -> CrystalSites:
    """Return the sites of ``crystals``, read from the file ``cache`` or found and written there."""
    if cache.exists():
        tensors = load_file(cache)
        if len(tensors["positions"]) == len(crystals.atomic_numbers):
            return CrystalSites(**tensors)
    sites = find_all_sites(crystals)
    save_file(vars(sites), cache)
    return sites


def find_all_sites(crystals: CrystalBatch) -> CrystalSites:
    """Return the space group of each crystal at SYMPREC and the positions of its atoms."""
    spacegroup = torch.zeros(len(crystals), dtype=torch.int64)
    positions = torch.zeros(len(crystals.atomic_numbers), dtype=torch.int64)
    basis = torch.zeros(len(crystals), 3, 3, dtype=torch.int64)
    sizes = crystals.num_atoms.tolist()
    lattice = crystals.lattice.double().numpy()
    frac_coords = crystals.frac_coords.double().split(sizes)
    atomic_numbers = crystals.atomic_numbers.split(sizes)
    first = 0
    for i, size in enumerate(tqdm(sizes, desc="space groups", mininterval=10)):
        coords, elements = frac_coords[i].numpy(), atomic_numbers[i].numpy()
        found = find_sites(lattice[i], coords, elements, SYMPREC)
        if found is not None:
            number = found.spacegroup
            spacegroup[i], basis[i] = number, torch.from_numpy(found.basis)
            positions[first : first + size] = torch.tensor(
                [position_number(number, index) for index in found.positions.tolist()]
            )
        first += size
    return CrystalSites(spacegroup, positions, basis)
