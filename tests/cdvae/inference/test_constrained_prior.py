"""Crystals under constraints: all of them meet the constraints and follow the prior."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cdvae.constraints import Constraints, Target
from cdvae.data.structures import to_structures
from cdvae.errors import InfeasibleError
from cdvae.geometry.crystal import element_counts
from cdvae.geometry.lattice import from_parameters, to_parameters
from cdvae.inference import ConstrainedPrior, Decoded, SamplerSpec, crystal_seed, decode
from cdvae.inference.consistency import consistency
from cdvae.inference.fixed_attributes import FixedAttributes
from cdvae.metrics.validity import structure_valid
from cdvae.model_folder import TrainedModel, load_model
from cdvae.prior.composition_prior import CompositionPrior
from cdvae.prior.conditional_composition import ConditionalComposition
from cdvae.symmetry.group_detection import has_group
from cdvae.testing import write_tiny_model

FAST = SamplerSpec("ancestral", 4)
KNOWN = (3, 7, 8, 9, 11, 12)  # some elements of the tiny model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    return load_model(write_tiny_model(tmp_path_factory.mktemp("store")))


def seeds(n: int, seed: int = 3) -> list[int]:
    return [crystal_seed(seed, i) for i in range(n)]


def made(model: TrainedModel, constraints: Constraints, own: list[int] | None = None) -> Decoded:
    prior = ConstrainedPrior(model, constraints)
    drawn = prior.draw(seeds(4) if own is None else own)
    decoded = decode(model, drawn.latents, drawn.seeds, FAST, None, drawn.fixed)
    return prior.best(drawn, decoded)


def random_prior(seed: int, kinds: tuple[int, ...], sizes: tuple[int, ...]) -> CompositionPrior:
    """Return a prior with strongly varying random probabilities of a few elements."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        prior = CompositionPrior(max(sizes), 16).eval().requires_grad_(False)
        for network in (prior.parts, prior.elements):
            network.leave[-1].weight *= 8
    prior.known_elements.zero_()[[z - 1 for z in kinds]] = True
    prior.sizes.zero_()[list(sizes)] = True
    prior.most_elements.fill_(3)
    return prior


def compositions(prior: CompositionPrior, kinds: tuple[int, ...]) -> torch.Tensor:
    """Return every composition that the prior knows."""
    rows = []
    for counts in itertools.product(range(prior.max_atoms + 1), repeat=len(kinds)):
        size, elements = sum(counts), sum(n > 0 for n in counts)
        known = size < len(prior.sizes) and prior.sizes[size]
        if known and elements <= int(prior.most_elements):
            row = torch.zeros(len(prior.known_elements))
            row[[z - 1 for z in kinds]] = torch.tensor(counts, dtype=torch.float)
            rows.append(row)
    return torch.stack(rows)


@pytest.mark.parametrize(
    "constraints",
    [
        Constraints(num_atoms=4),
        Constraints(include=frozenset({8})),
        Constraints(include=frozenset({3, 12}), exclude=frozenset({8})),
        Constraints(exclude=frozenset({3}), num_atoms=3),
        Constraints(include=frozenset({3, 8, 12})),
    ],
    ids=str,
)
def test_compositions_follow_the_conditional_law(constraints: Constraints) -> None:
    prior = random_prior(1, (3, 8, 9, 12), (2, 3, 4))
    every = compositions(prior, (3, 8, 9, 12))
    numbers = [[int(i) + 1 for i in row.nonzero()[:, 0]] for row in every]
    fine = torch.tensor(
        [
            constraints.include <= set(own)
            and not constraints.exclude & set(own)
            and constraints.num_atoms in (None, int(row.sum()))
            for row, own in zip(every, numbers, strict=True)
        ]
    )
    law = prior.log_prob(every).exp() * fine
    assert prior.log_prob(every).exp().sum() == pytest.approx(1, abs=1e-4)
    law = law / law.sum()
    conditional = ConditionalComposition(prior, constraints)
    uniform = torch.rand(3000, conditional.draws, generator=torch.Generator().manual_seed(0))
    drawn = conditional.sample(uniform)
    place = {tuple(row.tolist()): i for i, row in enumerate(every)}
    found = torch.zeros(len(every))
    for row in drawn.tolist():
        found[place[tuple(row)]] += 1 / len(drawn)
    assert found[~fine].sum() == 0
    assert (
        0.5 * (found - law).abs().sum() < 0.15
    )  # sampling noise is 0.04; the rest is the bias of 16 particles


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_random_requests_are_met_or_refused(data: st.DataObject) -> None:
    prior = random_prior(2, KNOWN, (2, 3, 5))
    elements = st.frozensets(st.sampled_from(KNOWN), max_size=4)
    constraints = Constraints(
        num_atoms=data.draw(st.none() | st.sampled_from((2, 3, 5))),
        include=data.draw(elements),
        exclude=data.draw(elements),
    )
    sizes = [n for n in (2, 3, 5) if constraints.num_atoms in (None, n)]
    left = len(set(KNOWN) - constraints.exclude)
    possible = (
        not constraints.include & constraints.exclude
        and len(constraints.include) <= min(3, max(sizes))
        and left > 0
    )
    if not possible:
        with pytest.raises(InfeasibleError):
            ConditionalComposition(prior, constraints)
        return
    conditional = ConditionalComposition(prior, constraints)
    rng = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    for counts in conditional.sample(torch.rand(8, conditional.draws, generator=rng)):
        own = {int(i) + 1 for i in counts.nonzero()[:, 0]}
        assert constraints.include <= own <= set(KNOWN) - constraints.exclude
        assert int(counts.sum()) in sizes
        assert len(own) <= 3


def test_a_formula_is_taken_as_it_is_written_where_that_can_be() -> None:
    prior = random_prior(3, KNOWN, (2, 3, 4, 6))

    def drawn(constraints: Constraints) -> set[tuple[float, ...]]:
        conditional = ConditionalComposition(prior, constraints)
        uniform = torch.rand(200, conditional.draws, generator=torch.Generator().manual_seed(0))
        counts = conditional.sample(uniform)
        return {tuple(row[[2, 7]].tolist()) for row in counts}

    lithia = {3: 2, 8: 1}
    assert drawn(Constraints(composition=lithia)) == {(2.0, 1.0)}
    assert drawn(Constraints(composition=lithia, num_atoms=6)) == {(4.0, 2.0)}
    lithium = drawn(Constraints(composition={3: 1}))
    assert len(lithium) > 1
    assert lithium <= {(n, 0.0) for n in (2.0, 3.0, 4.0, 6.0)}
    for wrong in ({3: 5}, {92: 1, 8: 1}):
        with pytest.raises(InfeasibleError, match="composition"):
            ConditionalComposition(prior, Constraints(composition=wrong))
    with pytest.raises(InfeasibleError, match="num_atoms"):
        ConditionalComposition(prior, Constraints(num_atoms=5))


@pytest.mark.parametrize(
    "constraints",
    [
        Constraints(composition={3: 1, 22: 1, 8: 3}),
        Constraints(include=frozenset({7, 8}), exclude=frozenset({9, 3})),
        Constraints(num_atoms=5, target=Target("band_gap", 1.0)),
    ],
    ids=str,
)
def test_the_atoms_are_those_required(model: TrainedModel, constraints: Constraints) -> None:
    crystals = made(model, constraints).crystals
    assert crystals.num_atoms.tolist() == [5] * 4
    for counts in element_counts(crystals):
        own = {int(i) + 1 for i in counts.nonzero()[:, 0]}
        assert constraints.include <= own
        assert not constraints.exclude & own
        if constraints.composition:
            found = {int(i) + 1: int(counts[i]) for i in counts.nonzero()[:, 0]}
            assert found == constraints.composition


def test_the_cell_is_kept(model: TrainedModel) -> None:
    lengths, angles = torch.tensor([[4.1, 3.7, 4.4]]), torch.tensor([[85.0, 95.0, 100.0]])
    cell = from_parameters(lengths.double(), angles.double())[0]
    crystals = made(model, Constraints(lattice=cell)).crystals
    for found, wanted in zip(to_parameters(crystals.lattice), (lengths, angles), strict=True):
        torch.testing.assert_close(found, wanted.expand(4, 3), rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    "constraints",
    [
        Constraints(spacegroup=221, composition={3: 1, 22: 1, 8: 3}),
        Constraints(spacegroup=99),
        Constraints(spacegroup=12),
        Constraints(spacegroup=123, lattice=torch.diag(torch.tensor([4.0, 4.0, 4.3]))),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "sampler", [SamplerSpec("ancestral", 60), SamplerSpec("langevin", 50)], ids=str
)
def test_sampled_crystals_have_the_space_group(
    model: TrainedModel, constraints: Constraints, sampler: SamplerSpec
) -> None:
    drawn = ConstrainedPrior(model, constraints).draw(seeds(4))
    decoded = decode(model, drawn.latents, drawn.seeds, sampler, None, drawn.fixed).crystals
    for crystal, fixed in zip(decoded.split(), drawn.fixed, strict=True):
        assert torch.equal(element_counts(crystal)[0], fixed.counts)
        lattice, frac_coords = (
            crystal.lattice[0].double().numpy(),
            crystal.frac_coords.double().numpy(),
        )
        assert fixed.spacegroup is not None
        assert has_group(
            fixed.spacegroup, lattice, frac_coords, crystal.atomic_numbers.numpy(), 1e-3
        )


def test_a_crystal_without_the_group_is_not_taken_for_one() -> None:
    lattice, atomic_numbers = np.diag([4.0, 4.0, 4.3]), np.array([22, 8, 8])
    frac_coords = np.array([[0, 0, 0], [0, 0, 0.48], [0.5, 0.5, 0.1]])
    assert has_group(99, lattice, frac_coords, atomic_numbers, 1e-3)
    assert has_group(25, lattice, frac_coords, atomic_numbers, 1e-3)  # a subgroup of 99
    assert not has_group(123, lattice, frac_coords, atomic_numbers, 1e-3)
    assert not has_group(2, lattice, frac_coords, atomic_numbers, 1e-3)


def test_a_constrained_crystal_does_not_depend_on_its_batch(model: TrainedModel) -> None:
    constraints = Constraints(include=frozenset({8}), spacegroup=99)
    every = seeds(7)
    together = made(model, constraints, every).crystals
    for part in ([2], [6, 1, 4]):
        alone = made(model, constraints, [every[i] for i in part]).crystals
        expected = together.select(part)
        assert torch.equal(alone.atomic_numbers, expected.atomic_numbers)
        assert torch.equal(alone.frac_coords, expected.frac_coords)
        assert torch.equal(alone.lattice, expected.lattice)


def test_crystals_with_and_without_constraints_share_a_batch(model: TrainedModel) -> None:
    drawn = ConstrainedPrior(model, Constraints(num_atoms=5)).draw(seeds(3))
    fixed: list[FixedAttributes | None] = [drawn.fixed[0], None, drawn.fixed[2]]
    mixed = decode(model, drawn.latents, seeds(3), FAST, None, fixed).crystals
    all_fixed = decode(model, drawn.latents, seeds(3), FAST, None, drawn.fixed).crystals
    free = decode(model, drawn.latents, seeds(3), FAST).crystals
    for i, expected in ((0, all_fixed), (1, free), (2, all_fixed)):
        assert torch.equal(mixed.split()[i].frac_coords, expected.split()[i].frac_coords)
        assert torch.equal(mixed.split()[i].atomic_numbers, expected.split()[i].atomic_numbers)


def test_of_the_guesses_at_a_composition_the_one_that_fits_its_latent_is_kept(
    model: TrainedModel,
) -> None:
    prior = ConstrainedPrior(model, Constraints(composition={3: 2, 8: 3}))
    drawn = prior.draw(seeds(4))
    assert len(set(drawn.seeds)) == len(drawn.seeds) == 4 * prior.candidates == 12
    assert len({tuple(z) for z in drawn.latents.z.tolist()}) == 12
    decoded = decode(model, drawn.latents, drawn.seeds, FAST, None, drawn.fixed)
    latent_mse = consistency(model, drawn.latents, decoded.crystals).latent_mse
    valid = [structure_valid(one) for one in to_structures(decoded.crystals)]
    latent_mse = latent_mse.masked_fill(~torch.tensor(valid), torch.inf).view(4, -1)
    best = prior.best(drawn, decoded)
    places = [3 * row + place for row, place in enumerate(latent_mse.argmin(1).tolist())]
    assert torch.equal(best.crystals.frac_coords, decoded.crystals.select(places).frac_coords)
    assert best.nfe.tolist() == [3 * FAST.nfe] * 4
    alone = prior.draw(seeds(4)[2:3])
    assert torch.equal(alone.latents.z, drawn.latents.z[6:9])


def test_a_target_picks_latents_that_the_head_reads_so(model: TrainedModel) -> None:
    heads, column = model.network.heads, model.properties.index("band_gap")

    def said(value: float) -> torch.Tensor:
        drawn = ConstrainedPrior(model, Constraints(target=Target("band_gap", value)))
        z = drawn.draw(seeds(6)).latents.z
        return heads.property_values(heads(z).properties)[:, column]

    low, high = said(-5.0).mean(), said(5.0).mean()
    assert low < high


def test_of_the_candidates_for_a_target_the_nearest_estimate_wins(model: TrainedModel) -> None:
    prior = ConstrainedPrior(model, Constraints(target=Target("band_gap", 0.5)))
    drawn = prior.draw(seeds(3))
    assert len(set(drawn.seeds)) == len(drawn.seeds) == 3 * prior.candidates
    decoded = decode(model, drawn.latents, drawn.seeds, FAST, None, drawn.fixed)
    away = (decoded.properties["band_gap"] - 0.5).abs().view(3, -1)
    best = prior.best(drawn, decoded)
    assert torch.equal((best.properties["band_gap"] - 0.5).abs(), away.amin(1))
    taken = decoded.nfe.view(3, -1).sum(1)
    assert torch.equal(best.nfe, taken)


def test_constraints_are_true_if_there_is_any() -> None:
    assert not Constraints()
    assert Constraints(num_atoms=5)
    assert Constraints(exclude=frozenset({3}))
    assert Constraints(lattice=torch.eye(3))
    assert Constraints(target=Target("band_gap", 0.0))


@pytest.mark.parametrize(
    ("constraints", "text"),
    [
        (Constraints(spacegroup=225), "space group"),
        (Constraints(target=Target("hardness", 1.0)), "hardness"),
        (Constraints(include=frozenset({92})), "does not know U"),
        (Constraints(spacegroup=221, lattice=torch.diag(torch.tensor([4.0, 4.0, 4.5]))), "lattice"),
        (Constraints(composition={3: 2, 8: 2, 9: 1}, spacegroup=221), "no sites"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(
    model: TrainedModel, constraints: Constraints, text: str
) -> None:
    with pytest.raises(InfeasibleError, match=text):
        ConstrainedPrior(model, constraints)
