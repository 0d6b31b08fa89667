"""The search for better crystals: proposals, selection and independence of the starts."""

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from cdvae import compute
from cdvae.constraints import Constraints
from cdvae.data.structures import to_structures
from cdvae.errors import Cancelled, InfeasibleError, NonFiniteSampleError
from cdvae.geometry.crystal import CrystalBatch, element_counts
from cdvae.inference import SamplerSpec, crystal_seed, encode, predict
from cdvae.inference.initial_state import read_counts
from cdvae.metrics.validity import composition_valid, species_counts, structure_valid
from cdvae.model_folder import TrainedModel, load_model
from cdvae.nn.encoder import Latents
from cdvae.optimization import composition_search
from cdvae.optimization.composition_filter import CompositionFilter
from cdvae.optimization.objective import PropertyObjective, combine_objectives
from cdvae.optimization.optimize import DECODINGS, optimize
from cdvae.optimization.substitution import key, neighbors, neutral
from cdvae.optimization.trajectory import SearchResult, Trajectory
from cdvae.optimization.trust_region import TrustRegion
from cdvae.prior.composition_prior import CompositionPrior
from cdvae.testing import perovskites, write_tiny_model

SAMPLER = SamplerSpec("ancestral", 3)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    return load_model(write_tiny_model(tmp_path_factory.mktemp("store")))


@pytest.fixture(scope="module")
def prior() -> CompositionPrior:
    """Return a prior of Li, O and F in crystals of two or three atoms."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        prior = CompositionPrior(4, 8)
    prior.restrict_to(composition((3, 1), (8, 1), (9, 0))[None])
    prior.known_elements[8] = True
    prior.sizes[3] = True
    return prior.eval().requires_grad_(False)


def composition(*pairs: tuple[int, int]) -> Tensor:
    counts = torch.zeros(100)
    for z, n in pairs:
        counts[z - 1] = n
    return counts


def seeds(n: int) -> list[int]:
    return [crystal_seed(5, i) for i in range(n)]


def run(model: TrainedModel, starts: Tensor, own: list[int], **changed: object) -> SearchResult:
    options = {
        "objectives": [PropertyObjective("band_gap", "minimize")],
        "steps": 12,
        "learning_rate": 0.1,
        "patience": None,
    }
    return optimize(model, Latents.of(starts), own, SAMPLER, **options | changed)


def test_neighbors_are_all_compositions_one_change_away(prior: CompositionPrior) -> None:
    own = composition((3, 2), (8, 1))
    expected = set()
    for counts in itertools.product(range(4), repeat=3):
        change = [n - m for n, m in zip(counts, (2, 1, 0), strict=True)]
        moved = [c for c in change if c]
        one_or_all = sorted(moved) == [-1, 1] or sorted(moved) == [-2, 2]
        if sum(counts) == 3 and one_or_all:
            expected.add(counts)
        if sum(counts) == 2 and len(moved) == 1:  # one element fewer, by one atom
            expected.add(counts)
    found = neighbors(own, prior)
    assert found.sum(1).tolist() == found[:, [2, 7, 8]].sum(1).tolist()
    triples = [tuple(int(n) for n in row) for row in found[:, [2, 7, 8]]]
    assert len(triples) == len(set(triples))
    assert set(triples) == expected
    assert {(2, 0, 1), (0, 1, 2), (2, 0, 0)} <= expected


def wide(monkeypatch: pytest.MonkeyPatch, changes: int) -> None:
    """Make the beam wide enough for all compositions."""
    monkeypatch.setattr(composition_search, "CHANGES", changes)
    for name in ("BEAM", "CANDIDATES", "CONSIDERED"):
        monkeypatch.setattr(composition_search, name, 100_000)


def weighed(model: TrainedModel, noise: Tensor, counts: Tensor) -> Tensor:
    """Return the band gap (M,) that the heads predict for compositions at this noise (K,)."""
    goal = combine_objectives(model, [PropertyObjective("band_gap", "minimize")])
    latents = model.prior.sample_from_noise(
        noise.expand(len(counts), -1), counts, composition_search.FLOW_STEPS
    )
    misread = (read_counts(model.network.heads, latents) != counts).any(1)
    return goal.cost(goal.predict(latents)) + composition_search.MISREAD * misread


def best_within(
    model: TrainedModel, own: Tensor, noise: Tensor, floor: float, **changed: Any
) -> Tensor:
    """Return the composition (Z,) that a search for a small band gap finds from ``own`` (Z,)."""
    goal = combine_objectives(model, [PropertyObjective("band_gap", "minimize")])
    allowed = changed.get("allowed", lambda counts: counts.sum(1) > 0)
    found = composition_search.CompositionSearch(model, goal, allowed).best(
        noise[None], own[None], [floor], [changed.get("tabu", set())]
    )
    return found[0]


@pytest.mark.parametrize("changes", [1, 2])
def test_the_composition_search_finds_the_best_composition_that_may_be(
    model: TrainedModel, monkeypatch: pytest.MonkeyPatch, changes: int
) -> None:
    """Compare with all compositions; the one between two changes need not be neutral."""
    wide(monkeypatch, changes)
    prior = model.prior.composition
    for own in element_counts(perovskites(3).crystals).to(torch.float32):
        noise = torch.randn(model.prior.components, generator=torch.Generator().manual_seed(1))
        floor = float(prior.log_prob(own[None])) - 1.0
        around = own[None]
        for _ in range(changes):
            around = torch.cat([around, *(neighbors(row, prior) for row in around)]).unique(dim=0)
        may_be = torch.tensor([neutral(key(row)) for row in around])
        may_be &= prior.log_prob(around) >= floor
        rivals = torch.cat([own[None], around[may_be]])
        found = best_within(model, own, noise, floor)
        assert key(found) in {key(row) for row in rivals}
        lowest = weighed(model, noise, rivals).min()
        torch.testing.assert_close(weighed(model, noise, found[None])[0], lowest)


def test_the_composition_search_keeps_to_what_is_likely_allowed_and_new(
    model: TrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide(monkeypatch, 1)
    own = element_counts(perovskites(1).crystals)[0].float()
    noise = torch.zeros(model.prior.components)
    likelihood = model.prior.composition.log_prob
    # If the present one is tabu, another is chosen, even a worse one.
    free = best_within(model, own, noise, -torch.inf, tabu={key(own)})
    assert key(free) != key(own)
    assert neutral(key(free))
    above = float(likelihood(free[None])) + 1e-3
    likelier = best_within(model, own, noise, above, tabu={key(own)})
    assert key(likelier) == key(own) or float(likelihood(likelier[None])) >= above
    second = best_within(model, own, noise, -torch.inf, tabu={key(own), key(free)})
    assert key(second) not in {key(own), key(free)}
    assert weighed(model, noise, second[None]) >= weighed(model, noise, free[None])
    same = best_within(model, own, noise, -torch.inf, allowed=lambda counts: (counts == own).all(1))
    assert key(same) == key(own)
    # Without an alternative it stays.
    assert key(best_within(model, own, noise, 1.0, tabu={key(own)})) == key(own)


def test_noise_of_a_latent_is_carried_back_to_it(model: TrainedModel) -> None:
    counts = element_counts(perovskites(8).crystals)
    latents = model.reference.latents[:8]
    noise = model.prior.invert(latents, counts)
    again = model.prior.sample_from_noise(noise, counts, 25)
    of = model.prior.coordinates
    torch.testing.assert_close(of(again), of(latents), atol=1e-4, rtol=1e-4)


def test_goal_is_in_the_units_of_the_card(model: TrainedModel) -> None:
    latents = model.reference.latents[:5]
    values = predict(model, latents)["band_gap"]
    goal = combine_objectives(model, [PropertyObjective("band_gap", "target", float(values[2]))])
    cost = goal.cost(goal.predict(latents))
    assert cost.argmin() == 2
    assert cost[2] == pytest.approx(0, abs=1e-9)
    assert cost.argsort().tolist() == (values - values[2]).abs().argsort().tolist()
    order = values.argsort().tolist()
    low, high = (
        combine_objectives(model, [PropertyObjective("band_gap", d)])
        for d in ("minimize", "maximize")
    )
    assert low.cost(low.predict(latents)).argsort().tolist() == order
    assert high.cost(high.predict(latents)).argsort().tolist() == order[::-1]


def test_objectives_add_up_by_weight(model: TrainedModel) -> None:
    """The cost is in standard deviations of the data, squared for a target."""
    latents = model.reference.latents[:5]
    both = [
        PropertyObjective("formation_energy", "target", 0.1, 2.0),
        PropertyObjective("band_gap", "maximize"),
    ]
    goal = combine_objectives(model, both)
    read = goal.predict(latents)
    mean, std = model.network.heads.property_mean, model.network.heads.property_std
    values = predict(model, latents)
    energy = (values["formation_energy"] - 0.1) / std[0]
    gap = (values["band_gap"] - mean[1]) / std[1]
    torch.testing.assert_close(goal.cost(read), 2 * energy.square() - gap)
    columns = {name: column.tolist() for name, column in values.items()}
    torch.testing.assert_close(goal.standardize(columns), read, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(goal.in_card_units(read)[:, 1], values["band_gap"])


@pytest.mark.parametrize(
    "objectives",
    [
        [],
        [PropertyObjective("color", "minimize")],
        [PropertyObjective("band_gap", "sideways")],
        [PropertyObjective("band_gap", "target")],
        [PropertyObjective("band_gap", "minimize", 1.0)],
        [PropertyObjective("band_gap", "minimize"), PropertyObjective("band_gap", "maximize")],
        [PropertyObjective("band_gap", "minimize", weight=0.0)],
    ],
)
def test_nonsense_is_refused(model: TrainedModel, objectives: list[PropertyObjective]) -> None:
    with pytest.raises(ValueError, match=r"direction|property|objective|weight"):
        run(model, model.reference.latents[:1], [1], objectives=objectives)


@pytest.mark.parametrize(("direction", "value"), [("minimize", None), ("target", 0.3)])
def test_best_is_the_best_valid_decoding(
    model: TrainedModel, direction: str, value: float | None
) -> None:
    objectives = [PropertyObjective("band_gap", direction, value)]
    found = run(model, model.reference.latents[:4], seeds(4), objectives=objectives)
    assert found.nfe.tolist() == [3 * DECODINGS] * 4
    best = found.best()
    assert len(best) == 4
    for crystal, path in zip(best.split(), found.trajectories, strict=True):
        assert len(path.decodings) == DECODINGS
        cost = [_badness(model, decoding, value) for decoding in path.decodings]
        lowest = min(cost)
        assert path.valid != lowest[0]
        assert cost[path.best] == pytest.approx(lowest, abs=1e-4)
        torch.testing.assert_close(crystal.frac_coords, path.decodings[path.best].frac_coords)
        reached = [
            _value(model, path.decodings[_first_best(cost[: n + 1])]) for n in range(DECODINGS)
        ]
        assert [value for (value,) in path.values] == pytest.approx(reached, abs=1e-4)


def _first_best(cost: list[tuple[bool, float]]) -> int:
    return cost.index(min(cost))


def _value(model: TrainedModel, crystal: CrystalBatch) -> float:
    return float(predict(model, encode(model, crystal).z.mean)["band_gap"])


def _badness(model: TrainedModel, crystal: CrystalBatch, value: float | None) -> tuple[bool, float]:
    """Return whether the crystal is invalid, and the distance of its property from the goal."""
    (structure,) = to_structures(crystal)
    valid = structure_valid(structure) and composition_valid(species_counts(structure))
    read = _value(model, crystal)
    return not valid, read if value is None else abs(read - value)


def test_starts_do_not_know_of_each_other(model: TrainedModel) -> None:
    starts = model.reference.latents[:3]
    together = run(model, starts, seeds(3))
    alone = run(model, starts[1:2], seeds(3)[1:2])
    for a, b in zip(
        together.trajectories[1].decodings, alone.trajectories[0].decodings, strict=True
    ):
        assert a is not None
        assert b is not None
        assert a.atomic_numbers.tolist() == b.atomic_numbers.tolist()
        torch.testing.assert_close(a.lattice, b.lattice, atol=1e-3, rtol=1e-3)
    first, again = together.best(), run(model, starts, seeds(3)).best()
    torch.testing.assert_close(first.frac_coords, again.frac_coords, atol=0, rtol=0)


def test_progress_covers_every_step_and_may_stop_the_search(
    model: TrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        compute, "_threads", 1
    )  # with two objectives, each has the values of its crystal
    seen: list[tuple[int, int]] = []
    run(model, model.reference.latents[:2], seeds(2), on_step=lambda *at: seen.append(at))
    total = 12 + 3 * DECODINGS
    assert [done for done, _ in seen] == list(range(1, total + 1))
    assert {of for _, of in seen} == {total}

    def stop(done: int, of: int) -> None:
        if done == 8:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        run(model, model.reference.latents[:2], seeds(2), on_step=stop)


def test_a_path_prefers_valid_crystals_and_counts_lost_ones() -> None:
    crystal = perovskites(1).crystals
    path = Trajectory()
    path.add_rejected()
    assert not path.add(crystal, False, -9.0, (-0.9,))
    assert path.best == 1
    assert path.add(crystal, True, 3.0, (0.3,))
    assert not path.add(crystal, False, -9.0, (-0.9,))
    assert not path.add(crystal, True, 3.0, (0.3,))
    assert path.add(crystal, True, 2.0, (0.2,))
    assert [value for (value,) in path.values] == [-0.9, 0.3, 0.3, 0.3, 0.2]
    assert path.first is crystal
    assert (path.best, len(path.decodings)) == (5, 6)
    with pytest.raises(NonFiniteSampleError) as caught:
        SearchResult([path, Trajectory([None])], 1).best()
    assert caught.value.indices == (1,)


def test_a_trust_region_follows_what_crystals_hold() -> None:
    trust = TrustRegion(0.2, None)
    trust.update(before=1.0, predicted=0.0, after=0.2, improved=True)  # 80 % of the predicted gain
    assert trust.radius == pytest.approx(0.3)
    trust.update(before=0.2, predicted=-0.8, after=-0.3, improved=True)  # half of it
    assert trust.radius == pytest.approx(0.3)
    trust.update(before=-0.3, predicted=-1.3, after=-0.4, improved=True)  # a tenth
    assert trust.radius == pytest.approx(0.15)
    trust.update(before=-0.4, predicted=-2.0, after=-0.4, improved=False)
    assert trust.radius == pytest.approx(0.075)
    trust.update(before=math.inf, predicted=-1.0, after=3.0, improved=True)  # the first valid one
    assert trust.radius == pytest.approx(0.075)
    assert not trust.exhausted


def test_a_search_is_over_after_moves_without_progress() -> None:
    trust = TrustRegion(0.2, 2)
    trust.update(before=1.0, predicted=0.0, after=1.0, improved=False)
    trust.update(before=1.0, predicted=0.0, after=0.5, improved=True)
    trust.update(before=0.5, predicted=0.0, after=0.495, improved=True)
    assert not trust.exhausted
    trust.update(before=0.495, predicted=0.0, after=0.495, improved=False)
    assert trust.exhausted


def test_starts_that_do_not_improve_are_left(model: TrainedModel) -> None:
    """The other searches are not affected."""
    starts = model.reference.latents[:4]
    whole = run(model, starts, seeds(4))
    seen: list[tuple[int, int]] = []
    short = run(model, starts, seeds(4), patience=2, on_step=lambda *at: seen.append(at))
    lengths = [len(path.decodings) for path in short.trajectories]
    assert min(lengths) < DECODINGS
    assert short.nfe.tolist() == [3 * length for length in lengths]
    for path, full, length in zip(short.trajectories, whole.trajectories, lengths, strict=True):
        assert len(path.values) == length
        values = [value for (value,) in full.values[:length]]
        assert [value for (value,) in path.values] == pytest.approx(values, abs=1e-3)
    assert seen[-1][0] == seen[-1][1]


def constrained(model: TrainedModel, **constraints: Any) -> SearchResult:
    """Return the search from crystals 0 to 3, with atom latents."""
    starts = encode(model, perovskites(4).crystals).means()
    return optimize(
        model,
        starts,
        seeds(4),
        SAMPLER,
        objectives=[PropertyObjective("band_gap", "minimize")],
        steps=4,
        learning_rate=0.1,
        composition_filter=CompositionFilter(model, Constraints(**constraints)),
    )


def decoded(found: SearchResult) -> list[set[tuple[int, int]]]:
    """Return (atomic number, atoms) of every crystal of a search."""
    crystals = [one for path in found.trajectories for one in path.decodings if one is not None]
    counts = [element_counts(crystal)[0] for crystal in crystals]
    return [{(int(z) + 1, int(one[z])) for z in one.nonzero()} for one in counts]


def test_a_search_keeps_to_the_elements_that_are_asked_for(model: TrainedModel) -> None:
    """This holds for every decoded crystal; some starts contain forbidden elements."""
    every = [
        z for crystal in perovskites(4).crystals.split() for z in crystal.atomic_numbers.tolist()
    ]
    most = max(set(every) - {7, 8, 9, 38}, key=every.count)
    found = decoded(constrained(model, exclude=frozenset({most}), include=frozenset({38})))
    assert len(found) > 8
    for own in found:
        elements = {z for z, _ in own}
        assert most not in elements
        assert 38 in elements


def test_a_search_keeps_the_composition_that_is_asked_for(model: TrainedModel) -> None:
    found = decoded(constrained(model, composition={38: 1, 22: 1, 8: 3}))
    assert len(found) > 8
    assert all(own == {(38, 1), (22, 1), (8, 3)} for own in found)


def test_a_start_that_is_not_admitted_begins_next_to_where_it_was(model: TrainedModel) -> None:
    given = perovskites(4).crystals
    counts = element_counts(given)
    forbidden = int(given.atomic_numbers[0])
    composition_filter = CompositionFilter(model, Constraints(exclude=frozenset({forbidden})))
    latents = encode(model, given).means()
    moved, now = composition_filter.project(latents, counts, seeds(4))
    fine = counts[:, forbidden - 1] == 0
    assert not fine[0]
    assert composition_filter.allows(now).all()
    assert now[fine].equal(counts[fine])
    assert moved.z[fine].equal(latents.z[fine])
    assert moved.num_atom_latents.tolist() == [5 * one for one in fine.tolist()]
    shared = torch.minimum(now[~fine], counts[~fine]).sum(1)
    assert (shared > 0).all()
    noise = model.prior.invert(moved.z, now)
    before = model.prior.invert(latents.z, counts)
    torch.testing.assert_close(noise, before, atol=1e-2, rtol=1e-2)
    with pytest.raises(InfeasibleError, match="composition"):
        CompositionFilter(model, Constraints(composition={92: 1, 8: 2}))
