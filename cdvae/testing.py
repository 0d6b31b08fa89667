"""Small untrained models and made-up crystals for tests."""

from __future__ import annotations

from pathlib import Path

import torch

from cdvae.config import load_config
from cdvae.data.dataset import CrystalDataset
from cdvae.geometry.crystal import CrystalBatch, element_counts
from cdvae.geometry.lattice import from_parameters
from cdvae.nn.autoencoder import CDVAE
from cdvae.nn.property_model import PropertyModel
from cdvae.training.encode import encode_all
from cdvae.training.export import export_model
from cdvae.training.prior_training import fit_prior

TINY_CONFIG = """\
name = "tiny"
dataset = "made-up perovskites"
description = "An untrained model for tests"

[model]
latent_dim = 8
atom_latent_dim = 3
max_atoms = 6
properties = ["formation_energy", "band_gap"]
head_width = 16
sigma_max = 0.5
sigma_min = 0.02

[model.encoder]
layers = 1
scalars = 16
vectors = 4
radial = 8

[model.decoder]
layers = 1
scalars = 16
vectors = 4
radial = 8

[optimizer]
steps = 4
freeze_encoder_after = 3
batch_size = 4

[loss]

[prior]
components = 6
width = 16
blocks = 1
steps = 2
batch_size = 8

[sampling]
nfe_per_attempt = 25

[property_model]
steps = 2
batch_size = 8

[property_model.backbone]
layers = 1
scalars = 16
vectors = 4
radial = 8

[units]
formation_energy = "eV"
band_gap = "eV"

[descriptions]
formation_energy = "made up"
band_gap = "made up"
"""

_IDEAL = torch.tensor([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
_CATIONS = (3, 11, 12, 19, 20, 22, 26, 38, 56)
_ANIONS = (7, 8, 9)


def perovskites(n: int, seed: int = 0) -> CrystalDataset:
    """Return ``n`` cubic ABX₃ crystals with random elements, cells, displacements, properties."""
    rng = torch.Generator().manual_seed(seed)

    def pick(table: tuple[int, ...]) -> torch.Tensor:
        return torch.tensor(table)[torch.randint(len(table), (n,), generator=rng)]

    anion = pick(_ANIONS)
    atomic_numbers = torch.stack([pick(_CATIONS), pick(_CATIONS), anion, anion, anion], 1).flatten()
    frac_coords = _IDEAL.repeat(n, 1) + 0.01 * torch.randn(5 * n, 3, generator=rng)
    length = 3.6 + torch.rand(n, 1, generator=rng)
    lattice = from_parameters(length.expand(n, 3), torch.full((n, 3), 90.0))
    crystals = CrystalBatch(frac_coords % 1, atomic_numbers, lattice, torch.full((n,), 5))
    values = torch.stack([length[:, 0] - 4, anion.float() - 7], 1)
    return CrystalDataset(
        crystals=crystals,
        properties=values,
        property_names=("formation_energy", "band_gap"),
        material_ids=tuple(str(i) for i in range(n)),
        metadata={},
    )


def write_tiny_model(folder: Path, seed: int = 0) -> Path:
    """Write a complete model folder ``folder/tiny/1`` with random weights and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tiny.toml"
    path.write_text(TINY_CONFIG, encoding="utf-8")
    config = load_config(path)
    path.unlink()
    data = perovskites(32, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = CDVAE(config.model).eval()
        property_model = PropertyModel(config.property_model.backbone, len(config.model.properties))
    property_model.fit_scalers(data.crystals, data.properties)
    network.heads.fit_scalers(data.crystals, data.properties)
    posterior = encode_all(network, data)
    counts, max_atoms = element_counts(data.crystals), config.model.max_atoms
    prior = fit_prior(posterior.z.mean, counts, max_atoms, config.prior, lambda *done: None)
    facts = {
        "commit": "none",
        "counts": {"train": len(data)},
        "columns": {"formation_energy": "none", "band_gap": "none"},
        "property_model_mae": {"formation_energy": 1.0, "band_gap": 1.0},
    }
    target = folder / "tiny" / "1"
    return export_model(
        target, config, TINY_CONFIG, network, prior, property_model, posterior, data, facts
    )
