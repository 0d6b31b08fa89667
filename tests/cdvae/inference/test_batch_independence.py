"""The bits of a crystal do not depend on its batch."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from cdvae.compute import configure, parallel_map
from cdvae.inference import Decoded, SamplerSpec, crystal_seed, decode, sample_latents
from cdvae.inference.bucketing import ROWS, Levels, bucket_by_size, pad_to_multiple
from cdvae.model_folder import TrainedModel, load_model

STORE = Path(__file__).parents[3] / "model_store"
SAMPLER = SamplerSpec("ancestral", 8)
LANGEVIN = SamplerSpec("langevin", 50)


@pytest.fixture(scope="module", params=["perov-5", "mp-20"])
def model(request: pytest.FixtureRequest) -> TrainedModel:
    return load_model(max((STORE / request.param).iterdir()))


def made(model: TrainedModel, indices: Sequence[int], sampler: SamplerSpec) -> Decoded:
    seeds = [crystal_seed(5, i) for i in indices]
    return decode(model, sample_latents(model, seeds), seeds, sampler)


@pytest.mark.parametrize("sampler", [SAMPLER, LANGEVIN], ids=["ancestral", "langevin"])
def test_a_crystal_has_the_same_bits_in_any_batch_on_any_number_of_threads(
    model: TrainedModel, sampler: SamplerSpec
) -> None:
    before = torch.get_num_threads()
    try:
        configure(1)
        together = made(model, range(9), sampler)
        configure(2)
        for part in ([4], [7, 2, 5], [8, 6, 4, 2, 0]):
            alone, expected = made(model, part, sampler), together.crystals.select(part)
            assert torch.equal(alone.crystals.frac_coords, expected.frac_coords)
            assert torch.equal(alone.crystals.lattice, expected.lattice)
            assert torch.equal(alone.crystals.atomic_numbers, expected.atomic_numbers)
            for name, values in alone.properties.items():
                assert torch.equal(values, together.properties[name][part])
    finally:
        configure(before)


def test_batches_hold_every_crystal_once_and_one_size_each() -> None:
    sizes = [5, 2, 5, 9, 2, 5, 5, 20]
    batches = bucket_by_size(sizes, atoms=15)
    assert sorted(row for rows in batches for row in rows) == list(range(8))
    for rows in batches:
        assert len({sizes[row] for row in rows}) == 1
        assert len(rows) == 1 or len(rows) * sizes[rows[0]] <= 15


def test_batches_are_filled_with_their_last_crystal() -> None:
    assert pad_to_multiple([3]) == [3] * ROWS
    assert pad_to_multiple([3, 8, 1, 4]) == [3, 8, 1, 4]


def test_levels_of_several_batches_add_up() -> None:
    seen: list[tuple[int, int]] = []
    for run in (0, 1):
        levels = Levels(2, lambda *level: seen.append(level), run, 2)
        for level in (1, 2, 3):
            levels.one_more(level, 3)
            levels.one_more(level, 3)
    assert [level / levels for level, levels in seen] == pytest.approx(
        [i / 12 for i in range(1, 13)], abs=1e-3
    )


def test_batches_with_different_numbers_of_levels_end_at_one() -> None:
    seen: list[float] = []
    levels = Levels(2, lambda level, levels: seen.append(level / levels), 0, 1)
    for number in (10, 100):
        for _ in range(number):
            levels.one_more(1, number)
    assert seen == sorted(seen)
    assert seen[-1] == 1


def test_spread_keeps_the_order_and_computes_without_gradients() -> None:
    weight = torch.ones(2, requires_grad=True)
    values = parallel_map(lambda i: (i, (weight * i).requires_grad), range(5))
    assert values == [(i, False) for i in range(5)]
    assert parallel_map(lambda i: i, []) == []
