"""Crystals and networks that the science tests share."""

import pytest
import torch

from cdvae.crystal import CrystalBatch
from cdvae.model.backbone import BackboneConfig
from cdvae.model.cdvae import CDVAE, ModelConfig
from cdvae.testing import perovskites


def random_crystals(n: int, seed: int, largest: int = 6) -> CrystalBatch:
    """Crystals of 1 to ``largest`` atoms in random triclinic cells, some of them thin."""
    rng = torch.Generator().manual_seed(seed)
    n_atoms = torch.randint(1, largest + 1, (n,), generator=rng)
    lattice = 4 * torch.eye(3) + 0.8 * torch.randn(n, 3, 3, generator=rng)
    lattice[::3, 2] *= 0.6
    total = int(n_atoms.sum())
    species = torch.randint(1, 30, (total,), generator=rng)
    return CrystalBatch(torch.rand(total, 3, generator=rng), species, lattice, n_atoms)


@pytest.fixture(scope="session")
def network() -> CDVAE:
    """A small untrained model in double precision, so that invariances hold to rounding."""
    config = ModelConfig(
        latent_dim=8,
        max_atoms=12,
        properties=("formation_energy", "band_gap"),
        encoder=BackboneConfig(layers=2, scalars=24, vectors=8, radial=8),
        decoder=BackboneConfig(layers=2, scalars=24, vectors=8, radial=8),
        sigma_max=0.5,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CDVAE(config)
    data = perovskites(32)
    model.heads.fit_scalers(data.crystals, data.properties)
    return model.double().eval().requires_grad_(False)
