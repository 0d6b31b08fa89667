import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cdvae.geometry.torus import shortest, wrap, wrap_difference, wrapped_normal_score
from tests.cdvae.conftest import random_crystals


@given(st.floats(-1e6, 1e6, width=32))
def test_wrap_stays_below_one(x: float) -> None:
    value = wrap(torch.tensor([x])).item()
    assert 0 <= value < 1


def test_wrap_of_a_tiny_negative_is_zero() -> None:
    assert wrap(torch.tensor([-1e-9])).item() == 0.0


def test_wrap_difference_is_the_nearest_representative() -> None:
    torch.testing.assert_close(
        wrap_difference(torch.tensor([0.9, -0.9, 0.2])), torch.tensor([-0.1, 0.1, 0.2])
    )


def brute_images(span: int) -> torch.Tensor:
    return torch.tensor(list(itertools.product(range(-span, span + 1), repeat=3))).double()


def test_shortest_agrees_with_brute_force_in_skewed_cells() -> None:
    crystals = random_crystals(40, seed=1, largest=1)
    skewed = crystals.lattice.double()
    skewed[:, 0] += 1.7 * skewed[:, 1]  # far from reduced: 27 images are not enough
    difference = torch.rand(40, 3, generator=torch.Generator().manual_seed(2)).double() - 0.5
    all_images = torch.einsum("ami,aij->amj", difference[:, None] + brute_images(5), skewed)
    expected = all_images.norm(dim=-1).amin(-1)
    torch.testing.assert_close(shortest(difference, skewed).norm(dim=-1), expected)


def test_shortest_of_nothing() -> None:
    assert shortest(torch.zeros(0, 3), torch.zeros(0, 3, 3)).shape == (0, 3)


@pytest.mark.parametrize("sigma", [0.05, 0.4, 1.0, 2.5])
def test_wrapped_score_is_the_gradient_of_the_wrapped_density(sigma: float) -> None:
    lattice = random_crystals(6, seed=4, largest=1).lattice.double()
    difference = torch.rand(6, 3, generator=torch.Generator().manual_seed(5)).double() - 0.5
    cart = torch.einsum("ai,aij->aj", difference, lattice).requires_grad_(True)
    images = cart[:, None] + torch.einsum("mi,aij->amj", brute_images(14), lattice)
    density = torch.logsumexp(-images.square().sum(-1) / (2 * sigma**2), -1)
    (gradient,) = torch.autograd.grad(density.sum(), cart)
    score = wrapped_normal_score(difference, lattice, torch.full((6,), sigma).double())
    torch.testing.assert_close(score, gradient * sigma, atol=1e-4, rtol=1e-3)


def test_images_and_waves_agree_where_one_takes_over_from_the_other() -> None:
    lattice = random_crystals(30, seed=6, largest=1).lattice.double()
    lattice[:, 0] *= 3  # one long vector
    lengths = lattice.norm(dim=-1)
    border = 0.4 * (lengths.amax(-1) * lengths.amin(-1)).sqrt()
    difference = torch.rand(30, 3, generator=torch.Generator().manual_seed(7)).double() - 0.5
    below = wrapped_normal_score(difference, lattice, border * (1 - 1e-6))
    above = wrapped_normal_score(difference, lattice, border * (1 + 1e-6))
    assert below.abs().max() > 0.5
    torch.testing.assert_close(above, below, atol=1e-3, rtol=1e-3)


def test_score_is_the_nearest_image_far_below_and_zero_far_above_the_cell() -> None:
    lattice = 4 * torch.eye(3).expand(1, 3, 3)
    difference = torch.tensor([[0.1, -0.2, 0.0]])
    low = wrapped_normal_score(difference, lattice, torch.tensor([0.1]))
    torch.testing.assert_close(low, -difference * 4 / 0.1)
    high = wrapped_normal_score(difference, lattice, torch.tensor([10.0]))
    assert high.abs().max() < 1e-3
    half = wrapped_normal_score(torch.tensor([[0.5, 0.0, 0.0]]), lattice, torch.tensor([0.5]))
    assert math.isclose(half.abs().max().item(), 0, abs_tol=1e-5)  # equally far from both images
