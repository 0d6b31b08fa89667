"""Crystals and networks that the science tests share."""

import pytest
import torch

from cdvae.geometry.crystal import CrystalBatch
from cdvae.nn.autoencoder import CDVAE, ModelConfig
from cdvae.nn.backbone import BackboneConfig
from cdvae.testing import perovskites


def random_crystals(n: int, seed: int, largest: int = 6) -> CrystalBatch:
    """Return crystals of 1 to ``largest`` atoms in random triclinic cells, some of them thin."""
    rng = torch.Generator().manual_seed(seed)
    num_atoms = torch.randint(1, largest + 1, (n,), generator=rng)
    lattice = 4 * torch.eye(3) + 0.8 * torch.randn(n, 3, 3, generator=rng)
    lattice[::3, 2] *= 0.6
    total = int(num_atoms.sum())
    atomic_numbers = torch.randint(1, 30, (total,), generator=rng)
    return CrystalBatch(torch.rand(total, 3, generator=rng), atomic_numbers, lattice, num_atoms)


@pytest.fixture(scope="session", params=[0, 6], ids=["z", "z and atom latents"])
def network(request: pytest.FixtureRequest) -> CDVAE:
    """Return a small untrained model in double precision, so that invariances hold to rounding."""
    return small_network(request.param)


@pytest.fixture(scope="session")
def plain() -> CDVAE:
    """Return a model without atom latents, which does not depend on the choice of cell."""
    return small_network(0)


def small_network(atom_latent_dim: int) -> CDVAE:
    """Return a small model with random weights in all layers."""
    config = ModelConfig(
        latent_dim=8,
        max_atoms=12,
        properties=("formation_energy", "band_gap"),
        encoder=BackboneConfig(layers=2, scalars=24, vectors=8, radial=8),
        decoder=BackboneConfig(layers=2, scalars=24, vectors=8, radial=8),
        sigma_max=0.5,
        atom_latent_dim=atom_latent_dim,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CDVAE(config)
        if model.decoder.place is not None:  # the initial zeros would hide every dependence
            torch.nn.init.normal_(model.decoder.place.leave.weight, std=0.1)
    data = perovskites(32)
    model.heads.fit_scalers(data.crystals, data.properties)
    return model.double().eval().requires_grad_(False)
