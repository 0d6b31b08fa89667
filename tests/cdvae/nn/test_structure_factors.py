"""Phases: positions of atoms without an origin."""

import math

import pytest
import torch

from cdvae.geometry.crystal import CrystalBatch
from cdvae.nn.structure_factors import WAVES, PhaseReader, on_circle, turned_back, wave_steps, waves
from tests.cdvae.conftest import random_crystals


@pytest.fixture
def crystals() -> CrystalBatch:
    drawn = random_crystals(6, seed=5)
    return drawn.replace(frac_coords=drawn.frac_coords.double(), lattice=drawn.lattice.double())


@pytest.fixture
def reader() -> PhaseReader:
    """Return a reader whose atom latents are the phases."""
    reader = PhaseReader(2 * WAVES, width=4, vectors=2).double().requires_grad_(False)
    reader.phases.weight.copy_(torch.eye(2 * WAVES))
    reader.phases.bias.zero_()
    return reader


def moved(crystals: CrystalBatch, step: torch.Tensor) -> CrystalBatch:
    return crystals.replace(frac_coords=(crystals.frac_coords + step) % 1)


def test_atoms_at_the_places_that_their_codes_say_have_phase_zero(
    crystals: CrystalBatch, reader: PhaseReader
) -> None:
    origin = torch.rand(len(crystals), 3, generator=torch.Generator().manual_seed(1)).double()
    atom_latents = waves(moved(crystals, origin[crystals.batch])).flatten(1)
    difference = reader.differences(atom_latents, crystals)
    assert (difference[..., 0] - 1).abs().max() < 1e-6
    assert difference[..., 1].abs().max() < 1e-6


def test_a_displaced_atom_sees_the_way_back(reader: PhaseReader) -> None:
    large = 400  # many atoms, so that one of them hardly rotates the mean
    frac_coords = torch.rand(large, 3, generator=torch.Generator().manual_seed(2)).double()
    crystal = CrystalBatch(
        frac_coords,
        torch.full((large,), 6),
        30 * torch.eye(3).double()[None],
        torch.tensor([large]),
    )
    step = torch.zeros(large, 3).double()
    step[7] = torch.tensor([0.05, -0.02, 0.1])
    difference = reader.differences(waves(crystal).flatten(1), moved(crystal, step))
    angle = torch.atan2(difference[7, :3, 1], difference[7, :3, 0]) / (2 * math.pi)
    torch.testing.assert_close(angle, -step[7], atol=1e-3, rtol=0)


def test_waves_are_distinct_up_to_sign_and_do_not_see_the_choice_of_image() -> None:
    frac_coords = torch.rand(5, 3, generator=torch.Generator().manual_seed(3)).double()
    one = CrystalBatch(
        frac_coords, torch.full((5,), 6), torch.eye(3).double()[None], torch.tensor([5])
    )
    other = one.replace(frac_coords=frac_coords + torch.tensor([1.0, -2.0, 3.0]))
    torch.testing.assert_close(waves(one), waves(other))
    seen = waves(one)[..., 0]  # cosines: equal for h and -h
    distance = (seen[:, :, None] - seen[:, None]).abs().amax(0) + torch.eye(WAVES)
    assert distance.min() > 1e-3


def test_steps_between_waves_see_an_atom_move_where_the_axis_wave_is_extinct() -> None:
    half = torch.tensor([[0.13, 0.41, 0.07], [0.62, 0.24, 0.31]]).double()
    screw = torch.tensor([-1.0, -1.0, 1.0]).double()
    frac_coords = torch.cat([half, half * screw + torch.tensor([0, 0, 0.5])]) % 1  # 2₁ along c
    crystal = CrystalBatch(
        frac_coords, torch.full((4,), 6), 5 * torch.eye(3).double()[None], torch.tensor([4])
    )
    wave = waves(crystal)
    total = wave.mean(0)
    assert total[2].norm() < 1e-9  # (0, 0, 1)
    steps = wave_steps(on_circle(turned_back(total.expand_as(wave), wave))).view(4, 3, -1, 2)
    clear = steps.norm(dim=-1)[0] > 0.9
    assert clear.any(-1).all()  # one is visible along each axis
    # A step changes by exp(-2πi f) from atom to atom for any sums over the crystal.
    turn = turned_back(steps[1:], steps[:1].expand_as(steps[1:]))
    angle = -2 * math.pi * (frac_coords[1:] - frac_coords[:1])[:, :, None].expand(turn.shape[:3])
    torch.testing.assert_close(turn[..., 0][:, clear], angle.cos()[:, clear], atol=0.1, rtol=0)
    torch.testing.assert_close(turn[..., 1][:, clear], angle.sin()[:, clear], atol=0.1, rtol=0)
