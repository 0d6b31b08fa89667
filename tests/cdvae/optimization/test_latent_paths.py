"""Paths through the latent space: ends, intermediate points and dependence on seeds."""

import itertools

import pytest
import torch

from cdvae.geometry.crystal import CrystalBatch, element_counts
from cdvae.inference import SamplerSpec, crystal_seed, decode, encode, estimate, predict
from cdvae.inference.consistency import consistency
from cdvae.metrics.validity import composition_valid
from cdvae.model_folder import TrainedModel, load_model
from cdvae.nn.encoder import Latents
from cdvae.optimization import latent_paths
from cdvae.prior.composition_prior import CompositionPrior
from cdvae.testing import perovskites, write_tiny_model

SEEDS = [crystal_seed(3, i) for i in range(6)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    return load_model(write_tiny_model(tmp_path_factory.mktemp("store")))


@pytest.fixture(scope="module")
def two() -> CrystalBatch:
    return perovskites(2, seed=4).crystals


def formula(counts: torch.Tensor) -> dict[int, int]:
    return {z: int(n) for z, n in enumerate(counts, 1) if n}


def test_a_walk_begins_and_ends_at_the_given_latents(
    model: TrainedModel, two: CrystalBatch
) -> None:
    z = encode(model, two).z.mean
    positions = [0.0, 0.25, 0.5, 0.75, 1.0]
    way = latent_paths.interpolate_latents(model, two, z, positions)
    assert torch.equal(way[0], z[0])
    assert torch.equal(way[-1], z[1])
    # A point does not depend on the other points of the path.
    alone = latent_paths.interpolate_latents(model, two, z, [0.5])
    assert torch.equal(alone[0], way[2])
    with pytest.raises(ValueError, match="two ends"):
        latent_paths.interpolate_latents(model, two.select([0]), z[:1], positions)


def test_between_a_crystal_and_itself_lies_that_crystal(
    model: TrainedModel, two: CrystalBatch
) -> None:
    same = two.select([0, 0])
    z = encode(model, same).z.mean
    way = latent_paths.interpolate_latents(model, same, z, [0.3, 0.5])
    of = model.prior.coordinates
    torch.testing.assert_close(of(way), of(z), atol=1e-4, rtol=1e-4)


def test_a_turn_keeps_the_length_and_goes_evenly() -> None:
    rng = torch.Generator().manual_seed(0)
    start, end = torch.randn(2, 64, generator=rng, dtype=torch.float64)
    end = end / end.norm() * start.norm()
    points = [latent_paths.slerp(start, end, position / 4) for position in range(5)]
    torch.testing.assert_close(points[0], start)
    torch.testing.assert_close(points[4], end)
    steps = [float((a - b).norm()) for a, b in itertools.pairwise(points)]
    assert steps == pytest.approx([steps[0]] * 4)
    assert [float(p.norm()) for p in points] == pytest.approx([float(start.norm())] * 5)


def known(*atomic_numbers: int, sizes: tuple[int, ...] = (5,)) -> CompositionPrior:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        prior = CompositionPrior(8, 8)
    prior.known_elements.zero_()[[z - 1 for z in atomic_numbers]] = True
    prior.sizes.zero_()[list(sizes)] = True
    return prior.eval().requires_grad_(False)


def counts(**atoms: int) -> torch.Tensor:
    numbers = {"Sr": 38, "Ti": 22, "O": 8, "Ba": 56, "Zr": 40, "N": 7, "C": 6}
    found = torch.zeros(100)
    for symbol, n in atoms.items():
        found[numbers[symbol] - 1] = n
    return found


def test_compositions_change_an_atom_at_a_time_and_stay_neutral() -> None:
    start, end = counts(Sr=1, Ti=1, O=3), counts(Ba=1, Zr=1, O=3)
    path = latent_paths.composition_path(start, end, known(38, 22, 8, 56, 40))
    assert torch.equal(path[0], start)
    assert torch.equal(path[-1], end)
    assert len(path) == 3
    # All pairs of Sr, Ti, Ba, Zr with three O are neutral except (Sr, Ba) and similar ones.
    assert composition_valid(formula(path[1]))
    assert float((path[1] - start).abs().sum()) == 2
    assert float((path[1] - end).abs().sum()) == 2


def test_cells_of_another_size_grow_over_sizes_that_are_known() -> None:
    path = latent_paths.composition_path(counts(C=2), counts(C=6), known(6, sizes=(2, 4, 6)))
    assert [int(one.sum()) for one in path] == [2, 4, 6]
    back = latent_paths.composition_path(counts(C=6), counts(C=2), known(6, sizes=(2, 4, 6)))
    assert [int(one.sum()) for one in back] == [6, 4, 2]


def test_variations_are_those_of_their_seeds_and_strength(
    model: TrainedModel, two: CrystalBatch
) -> None:
    one = two.select([0])
    z = encode(model, one).z.mean

    def vary(strength: float, seeds: list[int], keep: bool = True) -> torch.Tensor:
        return latent_paths.perturb_latents(model, one, z, strength, seeds, keep)

    together = vary(0.4, SEEDS)
    assert torch.equal(vary(0.4, SEEDS[2:3])[0], together[2])
    assert len({tuple(row) for row in together.tolist()}) == len(SEEDS)
    far = [
        float(latent_paths.distance(model, vary(s, SEEDS), z.expand(len(SEEDS), -1)).mean())
        for s in (0.0, 0.1, 0.4, 1.0)
    ]
    assert far[0] == pytest.approx(0, abs=1e-4)
    assert far == sorted(far)
    for strength in (-0.1, 1.1):
        with pytest.raises(ValueError, match="strength"):
            vary(strength, SEEDS)


def test_variations_of_full_strength_are_draws_of_the_prior(
    model: TrainedModel, two: CrystalBatch
) -> None:
    """They keep only the composition of the crystal."""
    one = two.select([0])
    other = one.replace(lattice=one.lattice * 1.1)
    a, b = (
        latent_paths.perturb_latents(
            model, crystal, encode(model, crystal).z.mean, 1.0, SEEDS, True
        )
        for crystal in (one, other)
    )
    assert torch.equal(a, b)


def test_compositions_wander_among_neutral_ones_of_the_prior(model: TrainedModel) -> None:
    start = element_counts(perovskites(1).crystals)[0]
    prior = model.prior.composition
    seen = set()
    for seed in range(20):
        rng = torch.Generator().manual_seed(seed)
        found = latent_paths.step_compositions(start, prior, 2, rng)
        assert composition_valid(formula(found))
        assert bool(prior.known_elements[found > 0].all())
        seen.add(tuple(found.tolist()))
    assert len(seen) > 5
    assert torch.equal(latent_paths.step_compositions(start, prior, 0, torch.Generator()), start)


def test_agreement_of_a_crystal_with_its_own_latent(model: TrainedModel) -> None:
    """It is zero for the encoded crystal and the distance of the latents for another one."""
    crystals = perovskites(3, seed=6).crystals
    own = encode(model, crystals).means()
    found = consistency(model, own, crystals)
    torch.testing.assert_close(found.latent_mse, torch.zeros(3), atol=1e-8, rtol=0)
    others = consistency(model, own.select([1, 2, 0]), crystals)
    z = (own.z - own.z[[1, 2, 0]]).square().mean(-1)
    a, b = (
        atom_latents.view(3, 5, -1)
        for atom_latents in (own.atom_latents, own.select([1, 2, 0]).atom_latents)
    )
    torch.testing.assert_close(others.latent_mse, z + (a - b).square().mean((1, 2)))
    read, said = predict(model, own.z), estimate(model, crystals)
    std = model.network.heads.property_std
    gaps = [(read[name] - said[name]) / std[i] for i, name in enumerate(model.properties)]
    torch.testing.assert_close(found.property_gap, torch.stack(gaps, 1).square().mean(1).sqrt())


def test_residuals_are_those_of_the_score(model: TrainedModel) -> None:
    """Crystals of any sizes, with and without atom latents, have the same values one by one."""
    crystals = perovskites(3, seed=6).crystals
    single = crystals.select([0]).replace(
        frac_coords=crystals.frac_coords[:4],
        atomic_numbers=crystals.atomic_numbers[:4],
        num_atoms=torch.tensor([4]),
    )
    mixed = CrystalBatch.cat([crystals, single])
    latents = Latents.cat([encode(model, crystals).means(), Latents.of(torch.ones(1, 8))])
    found = consistency(model, latents, mixed)
    for row in range(4):
        alone = consistency(model, latents.select([row]), mixed.select([row]))
        assert float(alone.score_residual[0]) == float(found.score_residual[row])
        assert float(found.score_residual[row]) > 0


def test_points_of_a_walk_can_be_decoded(model: TrainedModel, two: CrystalBatch) -> None:
    z = encode(model, two).z.mean
    way = latent_paths.interpolate_latents(model, two, z, [i / 5 for i in range(6)])
    decoded = decode(model, Latents.of(way), SEEDS, SamplerSpec("ancestral", 3))
    assert len(decoded.crystals) == 6
