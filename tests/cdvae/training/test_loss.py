import math
from dataclasses import asdict, replace

import pytest
import torch

from cdvae.config import LossWeights
from cdvae.diffusion.noise import NoiseSchedule
from cdvae.geometry.crystal import element_counts
from cdvae.inference.initial_state import likeliest_counts, species_of
from cdvae.nn.autoencoder import CDVAE, ModelConfig
from cdvae.nn.backbone import BackboneConfig
from cdvae.nn.encoder import Latent
from cdvae.testing import perovskites
from cdvae.training.loss import (
    Corruption,
    LossTerms,
    composition_loss,
    compute_loss,
    property_loss,
)

SCHEDULE = NoiseSchedule(0.4, 0.02)


def small_model() -> CDVAE:
    sizes = {"scalars": 48, "vectors": 16, "radial": 12}
    config = ModelConfig(
        latent_dim=16,
        max_atoms=5,
        properties=("formation_energy", "band_gap"),
        encoder=BackboneConfig(layers=1, **sizes),
        decoder=BackboneConfig(layers=2, **sizes),
        head_width=48,
    )
    torch.manual_seed(0)
    return CDVAE(config)


def test_total_is_the_weighted_sum_of_the_named_terms() -> None:
    names = asdict(LossWeights())
    terms = LossTerms(**{name: torch.tensor(float(i + 1)) for i, name in enumerate(names)})
    expected = sum((i + 1) * weight for i, weight in enumerate(names.values()))
    assert terms.total(LossWeights()).item() == pytest.approx(expected)
    assert terms.total(replace(LossWeights(), kl=0)).item() < expected
    assert terms.detached()["kl_atom_latents"] == len(names)


def test_kl_of_a_standard_normal_is_zero_and_grows() -> None:
    zero = torch.zeros(3, 4)
    assert Latent(zero, zero).kl().tolist() == [0, 0, 0]
    assert Latent(zero + 2, zero).kl().tolist() == pytest.approx([8, 8, 8])


def test_composition_loss_counts_every_element_and_vanishes_when_perfect() -> None:
    crystals = perovskites(8).crystals
    counts = element_counts(crystals).long()
    guess = small_model().heads(torch.zeros(8, 16))
    perfect = torch.full_like(guess.count_logits, -50.0)
    perfect.scatter_(2, counts[:, :, None], 50.0)
    assert composition_loss(replace(guess, count_logits=perfect), crystals).item() < 1e-6
    even = torch.zeros_like(perfect)
    expected = 100 * math.log(even.shape[2])
    assert composition_loss(replace(guess, count_logits=even), crystals).item() == pytest.approx(
        expected, rel=1e-5
    )


def test_unknown_properties_do_not_count() -> None:
    target = torch.tensor([[1.0, math.nan], [math.nan, math.nan]])
    assert property_loss(torch.tensor([[3.0, 7.0], [8.0, 9.0]]), target).item() == 4.0
    assert property_loss(torch.zeros(1, 2), torch.full((1, 2), math.nan)).item() == 0.0


@pytest.mark.slow
def test_a_handful_of_crystals_is_learned_by_heart() -> None:
    data = perovskites(6, seed=4)
    model = small_model()
    model.heads.fit_scalers(data.crystals, data.properties)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    rng = torch.Generator().manual_seed(0)
    weights = replace(LossWeights(), kl=1e-5)
    totals = []
    for _ in range(350):
        terms = compute_loss(
            model, data.crystals, data.properties, Corruption(SCHEDULE, 4, 0.2), rng
        )
        optimizer.zero_grad()
        terms.total(weights).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        totals.append(terms)
    first, last = totals[0].detached(), totals[-1].detached()
    assert last["coordinates"] < 0.5 * first["coordinates"]
    assert last["lattice"] < 0.05 * first["lattice"]
    assert last["properties"] < 0.2 * first["properties"]
    heads = model.heads(model.encode(data.crystals).z.mean)
    atomic_numbers = species_of(likeliest_counts(heads.count_logits, data.crystals.num_atoms))
    expected = torch.cat([part.atomic_numbers.sort().values for part in data.crystals.split()])
    assert torch.equal(atomic_numbers, expected)
