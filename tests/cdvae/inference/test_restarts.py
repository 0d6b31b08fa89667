"""Restarts: the selection of an attempt, and the decision about another one."""

import math

import torch

from cdvae.diffusion.noise import NoiseSchedule
from cdvae.diffusion.samplers.ancestral import Ancestral, AncestralPlan
from cdvae.geometry.crystal import CrystalBatch
from cdvae.inference.restarts import BestOfN, RestartPolicy, SampleBatch

PLAN = RestartPolicy(
    Ancestral(NoiseSchedule(2.0, 0.01), AncestralPlan.for_reconstruction(5)),
    attempts=3,
    accept_below=0.1,
)
PLANS = [PLAN] * 4


def made(run: int, latent_mses: list[float], residuals: list[float] | None = None) -> SampleBatch:
    """Return crystals of one atom, whose position encodes attempt and row."""
    number = len(latent_mses)
    frac_coords = torch.zeros(number, 3)
    frac_coords[:, 0], frac_coords[:, 1] = run / 10, torch.arange(number) / 10
    ones = torch.ones(number, dtype=torch.long)
    crystals = CrystalBatch(frac_coords, ones, 3 * torch.eye(3).repeat(number, 1, 1), ones)
    judged = torch.tensor(latent_mses), torch.tensor(residuals or [1.0] * number)
    return SampleBatch(crystals, torch.full((number, 2), float(run)), *judged)


def kept(best: BestOfN) -> list[int]:
    """Return the attempt of each crystal."""
    runs = best.crystals().frac_coords[:, 0] * 10
    assert torch.allclose(best.properties()[:, 0], runs)
    return runs.round().int().tolist()


def test_only_crystals_that_do_not_fit_get_another_run() -> None:
    best = BestOfN(4)
    assert best.needs_restart(PLANS) == [0, 1, 2, 3]
    best.add([0, 1, 2, 3], made(0, [0.05, 0.5, 0.09, 0.7]), PLAN)
    assert best.needs_restart(PLANS) == [1, 3]
    best.add([1, 3], made(1, [0.6, 0.02]), PLAN)
    assert best.needs_restart(PLANS) == [1]
    best.add([1], made(2, [0.4]), PLAN)
    assert best.needs_restart(PLANS) == []  # the third attempt is the last
    assert kept(best) == [0, 2, 0, 1]
    assert best.nfe.tolist() == [6, 18, 6, 12]
    assert PLAN.nfe == 18


def test_two_runs_that_agree_are_enough() -> None:
    best = BestOfN(4)
    best.add([0, 1, 2, 3], made(0, [0.5, 0.5, math.nan, 0.0]), PLAN)
    best.add([0, 1, 2], made(1, [0.504, 0.6, math.nan]), PLAN)
    assert best.needs_restart(PLANS) == [1, 2]  # two broken attempts do not agree
    best.add([1, 2], made(2, [0.3, 0.7]), PLAN)
    assert kept(best) == [0, 2, 2, 0]
    assert best.nfe.tolist() == [12, 18, 18, 6]


def test_the_least_misfit_is_kept_and_any_number_is_better_than_none() -> None:
    best = BestOfN(4)
    best.add([0, 1, 2, 3], made(0, [0.5, math.nan, math.inf, math.nan]), PLAN)
    best.add([3, 2, 1, 0], made(1, [math.nan, 0.9, 7.0, 0.6]), PLAN)
    assert best.needs_restart(PLANS) == [0, 1, 2, 3]
    assert kept(best) == [0, 1, 1, 0]  # broken, because all attempts broke


def test_of_runs_that_do_not_fit_misfit_and_residual_choose_and_one_that_fits_goes_first() -> None:
    best = BestOfN(4)
    best.add([0, 1, 2, 3], made(0, [0.5, 0.5, 0.5, 0.5], [0.4, 0.1, math.nan, 0.01]), PLAN)
    best.add([0, 1, 2, 3], made(1, [0.6, 0.4, 0.6, 0.09], [0.3, 0.2, 0.9, 0.9]), PLAN)
    assert kept(best) == [1, 0, 1, 1]
