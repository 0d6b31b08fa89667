"""The density over space groups and Wyckoff positions: every draw places all atoms; learning."""

from collections import Counter

import pytest
import torch

from cdvae.geometry.elements import NUM_SPECIES
from cdvae.prior.site_prior import SitePrior, SitePriorConfig
from cdvae.prior.site_sequences import Orbit, SiteChoice
from cdvae.symmetry.group_cells import Group
from cdvae.symmetry.site_solver import group_has_sites
from cdvae.training.site_training import SiteData, SiteTrainConfig, fit_site_prior

SIZE = SitePriorConfig(width=32, layers=2, heads=2)


def counts_of(*compositions: dict[int, int]) -> torch.Tensor:
    counts = torch.zeros(len(compositions), NUM_SPECIES)
    for row, composition in enumerate(compositions):
        for number, atoms in composition.items():
            counts[row, number - 1] = atoms
    return counts


def untrained() -> SitePrior:
    torch.manual_seed(0)
    prior = SitePrior(20, SIZE)
    prior.fit_tables(torch.arange(1, 231))
    return prior.eval()


def placed(choice: SiteChoice) -> Counter[int]:
    positions = Group.of(choice.spacegroup).positions
    atoms: Counter[int] = Counter()
    for orbit in choice.orbits:
        atoms[orbit.atomic_number] += positions[orbit.position].multiplicity
    return atoms


def test_every_draw_places_all_atoms_once() -> None:
    rng = torch.Generator().manual_seed(1)
    sizes = torch.randint(1, 7, (60, 3), generator=rng).tolist()
    compositions = [{8: a, 22: b, 56: c} for a, b, c in sizes]
    prior = untrained()
    drawn = prior.sample(counts_of(*compositions), torch.rand(60, prior.draws, generator=rng))
    for choice, composition in zip(drawn, compositions, strict=True):
        assert placed(choice) == composition
        fixed = [o.position for o in choice.orbits if not _free(choice.spacegroup, o.position)]
        assert len(set(fixed)) == len(fixed)
    assert len({choice.spacegroup for choice in drawn}) > 10


def _free(spacegroup: int, position: int) -> bool:
    return Group.of(spacegroup).positions[position].free


@pytest.mark.parametrize("number", [1, 62, 139, 225, 227])
def test_a_given_group_is_kept(number: int) -> None:
    compositions = [{8: 6, 22: 2}, {8: 4, 22: 4}, {8: 2}, {8: 12, 22: 4, 56: 4}]
    fitting = [c for c in compositions if group_has_sites(number, list(c.values()))]
    prior = untrained()
    uniform = torch.rand(len(fitting), prior.draws, generator=torch.Generator().manual_seed(2))
    drawn = prior.sample(counts_of(*fitting), uniform, number)
    assert [choice.spacegroup for choice in drawn] == [number] * len(fitting)
    assert [placed(choice) for choice in drawn] == fitting


def test_a_draw_does_not_depend_on_its_batch() -> None:
    prior = untrained()
    compositions = counts_of({8: 6, 22: 2, 56: 2}, {8: 2, 22: 1}, {8: 12, 22: 4, 56: 4})
    uniform = torch.rand(3, prior.draws, generator=torch.Generator().manual_seed(3))
    together = prior.sample(compositions, uniform)
    for row in range(3):
        [single] = prior.sample(compositions[row : row + 1], uniform[row : row + 1])
        assert (single.spacegroup, single.orbits) == (
            together[row].spacegroup,
            together[row].orbits,
        )


def test_the_law_of_the_data_is_learned() -> None:
    """Oxides are perovskites (221), fluorides rock salts (225) with the cation on either site."""
    perovskite = [Orbit(56, 0), Orbit(22, 1), Orbit(8, 2)]
    three = [i for i, p in enumerate(Group.of(221).positions) if p.multiplicity == 3]
    perovskite[2] = Orbit(8, three[0])
    data = SiteData(
        counts_of(*[{56: 1, 22: 1, 8: 3}, {11: 1, 9: 1}, {11: 1, 9: 1}]),
        torch.tensor([221, 225, 225]),
        [perovskite, [Orbit(11, 0), Orbit(9, 1)], [Orbit(11, 1), Orbit(9, 0)]],
        torch.tensor([[0.0] * 6, [0.3] * 6, [0.3] * 6]),
    )
    config = SiteTrainConfig(steps=150, batch_size=48, learning_rate=3e-3)
    prior = fit_site_prior(data, 20, SIZE, config, lambda step, average, losses: None)
    rng = torch.Generator().manual_seed(4)
    oxides = prior.sample(
        data.counts[:1].expand(40, -1), torch.rand(40, prior.draws, generator=rng)
    )
    right = [choice.orbits == (Orbit(8, three[0]), Orbit(22, 1), Orbit(56, 0)) for choice in oxides]
    assert sum(right) >= 38
    salts = prior.sample(
        data.counts[1:2].expand(40, -1), torch.rand(40, prior.draws, generator=rng)
    )
    assert sum(choice.spacegroup == 225 for choice in salts) >= 38
    first = [o.position for choice in salts for o in choice.orbits if o.atomic_number == 9]
    assert 8 <= first.count(0) <= 32  # one in two
    torch.testing.assert_close(salts[0].log_metric, torch.full((6,), 0.3), atol=0.1, rtol=0)
