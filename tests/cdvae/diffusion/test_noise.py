import torch

from cdvae.diffusion.noise import NoiseSchedule, corrupt, remove_mean, shuffle_rate, shuffle_species
from cdvae.geometry.crystal import CrystalBatch
from cdvae.geometry.torus import wrap_difference
from cdvae.testing import perovskites
from tests.cdvae.conftest import random_crystals


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cubes(*edges: float) -> CrystalBatch:
    """Return one atom in a cubic cell for each edge length, Å."""
    n = len(edges)
    lattice = torch.tensor(edges)[:, None, None] * torch.eye(3)
    return CrystalBatch(torch.zeros(n, 3), torch.ones(n).long(), lattice, torch.ones(n).long())


def test_ladder_is_geometric_from_each_cell_s_own_largest_level() -> None:
    ladder = NoiseSchedule(0.5, 0.01).ladder(cubes(20.0, 4.0), 50)
    torch.testing.assert_close(ladder[0], torch.tensor([10.0, 2.0]))
    torch.testing.assert_close(ladder[-1], torch.tensor([0.01, 0.01]))
    torch.testing.assert_close(
        ladder[1:, 0] / ladder[:-1, 0], torch.full((49,), 0.86851), atol=1e-4, rtol=0
    )


def test_longest_vector_sets_the_largest_level() -> None:
    flat = cubes(2.0).replace(lattice=torch.diag(torch.tensor([2.0, 3.0, 9.0]))[None])
    assert abs(NoiseSchedule(0.4, 0.02).ladder(flat, 2)[0].item() - 3.6) < 1e-5


def test_drawn_levels_cover_the_range_evenly_in_log() -> None:
    draws = NoiseSchedule(0.5, 0.01).draw(cubes(*[5.0] * 1000), rng()).log()
    assert draws.min() >= torch.tensor(0.01).log() - 1e-6
    assert draws.max() <= torch.tensor(2.5).log() + 1e-6
    histogram = torch.histc(draws, 10)
    assert (histogram - 100).abs().max() <= 2  # stratified, so there is almost no scatter


def test_corrupt_keeps_cell_composition_and_centre() -> None:
    crystals = perovskites(400).crystals
    batch = corrupt(crystals, torch.full((400,), 0.3), rng())
    torch.testing.assert_close(batch.noisy.lattice, crystals.lattice)
    for before, after in zip(crystals.split(), batch.noisy.split(), strict=True):
        assert sorted(before.atomic_numbers.tolist()) == sorted(after.atomic_numbers.tolist())
    moved = wrap_difference(batch.noisy.frac_coords - crystals.frac_coords)
    cart = torch.einsum("ai,aij->aj", moved, crystals.lattice[crystals.batch])
    assert remove_mean(cart, crystals).sub(cart).abs().max() < 1e-5
    # Removing the mean of five atoms leaves 4/5 of the variance.
    assert abs(cart.std().item() - 0.3 * 0.8**0.5) < 3 * 0.0025


def test_target_points_back_to_the_clean_sites_at_low_noise() -> None:
    crystals = perovskites(16).crystals
    sigma = torch.full((16,), 0.05)
    batch = corrupt(crystals, sigma, rng())
    moved = wrap_difference(batch.noisy.frac_coords - crystals.frac_coords)
    cart = torch.einsum("ai,aij->aj", moved, crystals.lattice[crystals.batch])
    torch.testing.assert_close(batch.target, -cart / 0.05**2, atol=1e-2, rtol=1e-3)


def test_target_of_one_atom_is_zero() -> None:
    crystals = random_crystals(20, seed=1, largest=1)
    assert corrupt(crystals, torch.full((20,), 0.5), rng()).target.abs().max() == 0


def test_shuffle_rate_and_composition() -> None:
    sigma = torch.tensor([0.01, 0.5, 10.0])
    torch.testing.assert_close(
        shuffle_rate(sigma), torch.tensor([0.2, 0.35, 0.5]), atol=2e-3, rtol=0
    )
    crystals = random_crystals(200, seed=2, largest=8)
    none = shuffle_species(crystals, torch.zeros(200), rng())
    assert torch.equal(none, crystals.atomic_numbers)
    everything = shuffle_species(crystals, torch.ones(200), rng())
    assert not torch.equal(everything, crystals.atomic_numbers)
    shuffled = crystals.replace(atomic_numbers=everything)
    for before, after in zip(crystals.split(), shuffled.split(), strict=True):
        assert sorted(before.atomic_numbers.tolist()) == sorted(after.atomic_numbers.tolist())


def test_select_repeats_and_reorders() -> None:
    crystals = random_crystals(6, seed=3)
    picked = crystals.select([4, 0, 4])
    parts = crystals.split()
    again = CrystalBatch.cat([parts[4], parts[0], parts[4]])
    assert torch.equal(picked.frac_coords, again.frac_coords)
    assert torch.equal(picked.atomic_numbers, again.atomic_numbers)
    assert torch.equal(picked.lattice, again.lattice)
