"""The prior over z: a proper density over compositions, and a flow that carries noise to z."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cdvae.config import PriorConfig
from cdvae.geometry.crystal import element_counts
from cdvae.prior.composition_prior import CompositionPrior
from cdvae.testing import perovskites
from cdvae.training.prior_training import fit_prior

KNOWN = (3, 8, 22)
SIZES = (2, 3)


@pytest.fixture
def untrained() -> CompositionPrior:
    torch.manual_seed(0)
    prior = CompositionPrior(max_atoms=4, width=16)
    examples = torch.zeros(2, 100)
    examples[0, [2, 7]] = 1
    examples[1, [7, 21]] = torch.tensor([2.0, 1.0])
    prior.restrict_to(examples)
    return prior.eval().requires_grad_(False)


def all_compositions() -> torch.Tensor:
    """Return every composition of one or two KNOWN elements with one of SIZES atoms."""
    rows = []
    for size in SIZES:
        for atoms in itertools.combinations_with_replacement(KNOWN, size):
            row = torch.zeros(100)
            for z in atoms:
                row[z - 1] += 1
            if (row > 0).sum() <= 2:  # the known compositions
                rows.append(row)
    return torch.stack(rows)


def test_probabilities_of_all_compositions_add_up_to_one(untrained: CompositionPrior) -> None:
    total = untrained.log_prob(all_compositions()).exp().sum()
    assert total.item() == pytest.approx(1, abs=1e-5)


def test_other_elements_and_sizes_are_impossible(untrained: CompositionPrior) -> None:
    other = torch.zeros(2, 100)
    other[0, [2, 55]] = 1  # barium was never seen
    other[1, 7] = 4  # nor were four atoms
    assert untrained.log_prob(other).tolist() == [-torch.inf, -torch.inf]


def test_samples_follow_the_probabilities(untrained: CompositionPrior) -> None:
    n = 20_000
    uniform = torch.rand(n, untrained.draws, generator=torch.Generator().manual_seed(1))
    samples = untrained.sample(uniform)
    compositions = all_compositions()
    probability = untrained.log_prob(compositions).exp()
    share = torch.stack([(samples == row).all(1).float().mean() for row in compositions])
    assert share.sum().item() == pytest.approx(1)
    error = (probability * (1 - probability) / n).sqrt()
    assert ((share - probability).abs() < 4 * error + 1e-4).all()


def test_fitted_prior_finds_compositions_and_latents() -> None:
    data = perovskites(64)
    counts = element_counts(data.crystals)
    # The latents depend only on the composition, so the flow must reach exactly one point.
    projection = torch.randn(100, 6, generator=torch.Generator().manual_seed(2))
    mean = counts @ projection
    losses: list[dict[str, float]] = []
    config = PriorConfig(components=6, width=64, blocks=2, steps=400, batch_size=64)
    prior = fit_prior(mean, counts, 5, config, lambda step, loss: losses.append(loss))
    assert losses[-1]["composition"] < 0.5 * losses[0]["composition"]
    noise = torch.randn(64, 6, generator=torch.Generator().manual_seed(3))
    error = (prior.sample_from_noise(noise, counts) - mean).norm(dim=1)
    assert error.median() < 0.5 * mean.sub(mean.mean(0)).norm(dim=1).median()


def test_a_resumed_fit_ends_with_the_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    counts = element_counts(perovskites(32).crystals)
    mean = torch.randn(32, 6, generator=torch.Generator().manual_seed(5))
    config = PriorConfig(components=4, width=16, blocks=1, steps=40, batch_size=8)
    whole = fit_prior(mean, counts, 5, config, lambda *done: None)
    path = tmp_path / "prior.safetensors"

    def stop(step: int, losses: dict[str, float]) -> None:
        if step == 17:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fit_prior(mean, counts, 5, config, stop, path, checkpoint_seconds=0)
    steps: list[int] = []
    resumed = fit_prior(mean, counts, 5, config, lambda step, losses: steps.append(step), path)
    assert steps == list(range(18, 41))
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_prior_draws_along_the_principal_components() -> None:
    """They lose the other directions, and nothing along these."""
    rng = torch.Generator().manual_seed(4)
    data = perovskites(64)
    basis = torch.linalg.qr(torch.randn(6, 6, generator=rng)).Q
    deviations = torch.tensor([3.0, 2.0, 1.0, 0.1, 0.01, 0.01])
    mean = torch.randn(64, 6, generator=rng) * deviations @ basis + 5
    config = PriorConfig(components=3, width=16, blocks=1, steps=1, batch_size=8)
    counts = element_counts(data.crystals)
    prior = fit_prior(mean, counts, 5, config, lambda *done: None)
    assert prior.components == 3
    coordinates = prior.coordinates(mean)
    torch.testing.assert_close(coordinates.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(coordinates.T.cov(), torch.eye(3), atol=0.03, rtol=0)
    again = coordinates @ prior.axes + prior.mean
    torch.testing.assert_close(prior.coordinates(again), coordinates)
    assert (again - mean).norm(dim=1).max() < 0.5
    assert (again - mean).norm(dim=1).median() > 0.02
    noise = prior.invert(mean, counts)
    torch.testing.assert_close(
        prior.sample_from_noise(noise, counts, 25), again, atol=1e-3, rtol=1e-3
    )
    with pytest.raises(ValueError, match="7 components"):
        fit_prior(mean, counts, 5, replace(config, components=7), lambda *done: None)
