"""Samplers with an exact score, compared with theory."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cdvae.diffusion.noise import NoiseSchedule, remove_mean
from cdvae.diffusion.samplers.ancestral import CORRECTION, Ancestral, AncestralPlan
from cdvae.diffusion.samplers.langevin import Langevin
from cdvae.diffusion.samplers.sampler import DiffusionSampler
from cdvae.diffusion.samplers.species_assignment import assign_species
from cdvae.diffusion.score import ScoreOutput
from cdvae.errors import Cancelled
from cdvae.geometry.crystal import CrystalBatch
from cdvae.geometry.torus import wrap_difference, wrapped_normal_score
from cdvae.inference.initial_state import likeliest_counts, species_of

COPIES = 400
WIDTH = 0.15  # Å, standard deviation of the data around the sites
SITES = torch.tensor([[0.0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0, 0.25]])
CELL = torch.tensor([[4.0, 0, 0], [1.0, 4.2, 0], [0, -0.5, 5.0]])


class NormalData:
    """The exact score of normal data around SITES with a fixed centre of mass."""

    def __call__(self, crystals: CrystalBatch, sigma: Tensor) -> ScoreOutput:
        difference = self.deviation(crystals)
        width = (WIDTH**2 + sigma[crystals.batch] ** 2).sqrt()
        lattice = crystals.lattice[crystals.batch]
        score = wrapped_normal_score(difference, lattice, width) / width[:, None]
        logits = torch.zeros(len(difference), 100)
        logits[:, 7] = 1.0
        return ScoreOutput(remove_mean(score, crystals), logits)

    @staticmethod
    def deviation(crystals: CrystalBatch) -> Tensor:
        return wrap_difference(crystals.frac_coords - SITES.repeat(len(crystals), 1))


def start() -> CrystalBatch:
    """Return atoms so near to their sites that no other image attracts them."""
    rng = torch.Generator().manual_seed(1)
    crystals = CrystalBatch(
        SITES.repeat(COPIES, 1),
        torch.tensor([8, 8, 8]).repeat(COPIES),
        CELL.expand(COPIES, 3, 3),
        torch.full((COPIES,), 3),
    )
    noise = remove_mean(torch.randn(3 * COPIES, 3, generator=rng) * 0.6, crystals)
    return crystals.replace(frac_coords=(crystals.frac_coords + noise @ torch.linalg.inv(CELL)) % 1)


def generators(n: int = COPIES) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(i) for i in range(n)]


SCHEDULE = NoiseSchedule(0.6 / float(CELL.norm(dim=-1).max()), 0.01)
PLAN, UNCORRECTED = AncestralPlan(1, 20, 2, 14), AncestralPlan(1, 30, 0, 30)


@pytest.mark.parametrize(
    "sampler", [Ancestral(SCHEDULE, UNCORRECTED), Langevin(SCHEDULE, 40, steps_per_level=20)]
)
def test_spread_of_the_samples_is_that_of_the_data(sampler: DiffusionSampler) -> None:
    samples = sampler(NormalData(), start(), generators())
    cart = NormalData.deviation(samples) @ CELL
    # The centre of mass is fixed, so the variance is that of two out of three atoms.
    variance = cart.square().sum() / (COPIES * 2 * 3)
    error = WIDTH**2 * math.sqrt(2 / (COPIES * 6))
    # The last, noise-free step shrinks each deviation by WIDTH² / (WIDTH² + σ_min²), far below
    # this.
    discretisation = 0.06 * WIDTH**2
    assert abs(variance.item() - WIDTH**2) < 3 * error + discretisation
    assert cart.mean(0).abs().max() < 1e-4


def test_corrections_narrow_the_spread_no_more_than_they_say() -> None:
    samples = Ancestral(SCHEDULE, PLAN)(NormalData(), start(), generators())
    variance = (NormalData.deviation(samples) @ CELL).square().sum() / (COPIES * 2 * 3)
    assert (1 + math.exp(-CORRECTION)) / 2 < variance.item() / WIDTH**2 < 1


@pytest.mark.parametrize(
    "sampler", [Ancestral(SCHEDULE, PLAN), Langevin(SCHEDULE, 40, steps_per_level=2)]
)
def test_a_crystal_does_not_depend_on_its_batch(sampler: DiffusionSampler) -> None:
    together = sampler(NormalData(), start(), generators())

    alone = sampler(NormalData(), start().select([7, 3]), [generators()[7], generators()[3]])
    torch.testing.assert_close(
        alone.frac_coords, together.select([7, 3]).frac_coords, atol=1e-6, rtol=0
    )


def test_evaluations_are_counted_exactly() -> None:
    for sampler in (Ancestral(SCHEDULE, PLAN), Langevin(SCHEDULE, 40, steps_per_level=3)):
        calls = 0

        class Counting(NormalData):
            def __call__(self, crystals: CrystalBatch, sigma: Tensor) -> ScoreOutput:
                nonlocal calls
                calls += 1
                return super().__call__(crystals, sigma)

        sampler(Counting(), start().select([0]), generators(1))
        assert calls == sampler.nfe


@pytest.mark.parametrize(
    "sampler", [Ancestral(SCHEDULE, PLAN), Langevin(SCHEDULE, 40, steps_per_level=2)]
)
def test_stops_within_a_level_when_told_to(sampler: DiffusionSampler) -> None:
    seen = []

    def stop(done: int, total: int) -> None:
        seen.append((done, total))
        if done == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        sampler(NormalData(), start().select([0]), generators(1), stop)
    assert seen == [(i, seen[0][1]) for i in (1, 2, 3)]


@pytest.mark.parametrize("nfe", range(1, 131))
@pytest.mark.parametrize(
    "planned", [AncestralPlan.for_generation, AncestralPlan.for_reconstruction]
)
def test_a_plan_makes_good_use_of_its_evaluations(
    planned: Callable[[int], AncestralPlan], nfe: int
) -> None:
    plan = planned(nfe)
    assert nfe - plan.corrections <= plan.nfe <= nfe
    assert plan.above > 0 or plan.within > 0
    assert plan.deterministic_tail == (planned == AncestralPlan.for_reconstruction)


def test_settling_adds_no_noise_and_goes_where_each_level_expects_the_atoms() -> None:
    """The expected deviation is w² / (w² + σ²) of the noisy one for data of width w."""
    sampler = Ancestral(SCHEDULE, AncestralPlan(0, 0, 0, 6, deterministic_tail=True))
    crystals = start().select(range(100))  # too near for other images to matter
    found = sampler(NormalData(), crystals, generators(100))
    kept = (WIDTH**2 / (WIDTH**2 + sampler._ladder(crystals) ** 2)).prod(0)
    expected = NormalData.deviation(crystals) * kept.repeat_interleave(3)[:, None]
    torch.testing.assert_close(NormalData.deviation(found), expected, atol=1e-4, rtol=0)


def test_assignment_keeps_the_composition_and_is_optimal() -> None:
    crystals = CrystalBatch(
        torch.rand(5, 3, generator=torch.Generator().manual_seed(0)),
        torch.tensor([8, 8, 22, 38, 8]),
        4 * torch.eye(3)[None],
        torch.tensor([5]),
    )
    logits = torch.zeros(5, 100)
    logits[0, 21] = 5.0  # atom 0: titanium is likeliest
    logits[1, 21] = 4.0  # atom 1: the same, but less clearly
    logits[3, 91] = 9.0  # uranium is not in the composition
    assigned = assign_species(crystals, logits).atomic_numbers
    assert assigned[0] == 22
    assert sorted(assigned.tolist()) == [8, 8, 8, 22, 38]


def test_likeliest_counts_are_those_of_a_search_over_all_compositions() -> None:
    logits = torch.full((6, 100, 5), -torch.inf)
    logits[:, :, 0] = 0
    elements = [7, 21, 37]
    logits[:, elements] = 2 * torch.randn(6, 3, 5, generator=torch.Generator().manual_seed(0))
    num_atoms = torch.tensor([1, 2, 3, 4, 4, 4])
    counts = likeliest_counts(logits, num_atoms)
    log = logits.log_softmax(-1)[:, elements]
    for i, n in enumerate(num_atoms.tolist()):
        totals = {
            c: sum(float(log[i, e, k]) for e, k in enumerate(c))
            for c in itertools.product(range(5), repeat=3)
            if sum(c) == n
        }
        assert tuple(counts[i, elements].tolist()) == max(totals, key=lambda c: totals[c])
    assert counts.sum(1).tolist() == num_atoms.tolist()  # other elements must not appear


def test_species_are_listed_as_often_as_they_are_counted() -> None:
    counts = torch.zeros(2, 100, dtype=torch.int64)
    counts[0, [7, 21, 37]] = torch.tensor([3, 1, 1])
    counts[1, 5] = 1
    assert species_of(counts).tolist() == [8, 8, 8, 22, 38, 6]
