"""The joint law of z and the atom latents: symmetries, matching, learning, resuming."""

import itertools
from pathlib import Path

import pytest
import torch
from torch.nn.functional import one_hot

from cdvae.errors import DataError
from cdvae.geometry.elements import NUM_SPECIES
from cdvae.nn.encoder import Latent, Posterior
from cdvae.prior.latent_flow import (
    FlowCondition,
    LatentFlow,
    LatentFlowConfig,
    LatentSet,
    LatentTime,
)
from cdvae.symmetry.crystal_sites import CrystalSites
from cdvae.training.flow_training import (
    FlowTrainConfig,
    FlowTraining,
    LatentData,
    load_weights,
    match_noise,
    save_weights,
)

D, K = 5, 3
SIZE = LatentFlowConfig(width=32, layers=2, heads=4)


def random_flow() -> LatentFlow:
    """A flow whose output layers are not zero."""
    torch.manual_seed(0)
    flow = LatentFlow(D, K, SIZE)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return flow.double()


def inputs(sizes: list[int]) -> tuple[LatentSet, LatentTime, FlowCondition]:
    """Random latents of crystals with these numbers of atoms, padded."""
    rng = torch.Generator().manual_seed(1)
    b, n = len(sizes), max(sizes)
    present = torch.arange(n) < torch.tensor(sizes)[:, None]
    z = torch.randn(b, D, generator=rng).double()
    atoms = torch.randn(b, n, K, generator=rng).double() * present[..., None]
    kinds = torch.randint(0, 10, (b, n), generator=rng)
    elements = one_hot(kinds, NUM_SPECIES).double() * present[..., None]
    times = torch.rand(2, b, generator=rng).double()
    group = torch.randint(0, 231, (b,), generator=rng)
    positions = torch.randint(0, 4, (b, n), generator=rng)
    return (
        LatentSet(z, atoms),
        LatentTime(*times),
        FlowCondition(elements, group, positions, present),
    )


def unknown_sites(elements: torch.Tensor) -> FlowCondition:
    """Atoms on unknown sites."""
    b, n = elements.shape[:2]
    return FlowCondition(elements, torch.zeros(b).long(), torch.zeros(b, n).long())


@torch.no_grad()
def test_the_velocity_follows_the_order_of_the_atoms() -> None:
    flow, (x, t, condition) = random_flow(), inputs([4, 4])
    order = torch.tensor([2, 0, 3, 1])
    before = flow(x, t, condition)
    elements, positions = condition.elements[:, order], condition.positions[:, order]
    moved = FlowCondition(elements, condition.spacegroup, positions)
    after = flow(LatentSet(x.z, x.atoms[:, order]), t, moved)
    torch.testing.assert_close(after.z, before.z)
    torch.testing.assert_close(after.atoms, before.atoms[:, order])
    assert not torch.allclose(before.atoms[:, order], before.atoms)


@torch.no_grad()
def test_padding_changes_nothing() -> None:
    flow, (x, t, condition) = random_flow(), inputs([2, 5])
    padded = flow(x, t, condition)
    short = FlowCondition(
        condition.elements[:1, :2], condition.spacegroup[:1], condition.positions[:1, :2]
    )
    alone = flow(LatentSet(x.z[:1], x.atoms[:1, :2]), LatentTime(t.z[:1], t.atoms[:1]), short)
    torch.testing.assert_close(padded.z[:1], alone.z)
    torch.testing.assert_close(padded.atoms[:1, :2], alone.atoms)


@torch.no_grad()
def test_sites_count_unless_they_are_unknown() -> None:
    flow, (x, t, condition) = random_flow(), inputs([4, 4])
    told = flow(x, t, condition)
    untold = flow(x, t, condition.without_sites(torch.tensor([True, False])))
    assert not torch.allclose(told.atoms[0], untold.atoms[0])
    torch.testing.assert_close(told.atoms[1], untold.atoms[1])
    torch.testing.assert_close(
        untold.atoms[:1], flow(x, t, unknown_sites(condition.elements)).atoms[:1]
    )


def test_noise_is_matched_within_each_element_at_the_least_cost() -> None:
    rng = torch.Generator().manual_seed(2)
    noise, data = torch.randn(2, 1, 5, K, generator=rng)
    kinds = torch.tensor([[3, 7, 3, 7, 3]])
    present = torch.tensor([[True, True, True, True, False]])
    elements = one_hot(kinds, NUM_SPECIES).float()
    unknown = torch.zeros(1, 5).long()
    condition = FlowCondition(elements, torch.zeros(1).long(), unknown, present)
    matched = match_noise(noise, data, condition)

    def cost(order: tuple[int, ...]) -> float:
        return float((noise[0, list(order)] - data[0, :4]).square().sum())

    allowed = [
        order
        for order in itertools.permutations(range(4))
        if all(kinds[0, i] == kinds[0, j] for i, j in enumerate(order))
    ]
    best = min(allowed, key=cost)
    torch.testing.assert_close(matched[0, :4], noise[0, list(best)])
    torch.testing.assert_close(matched[0, 4], noise[0, 4])

    apart = torch.tensor([[1, 1, 2, 2, 3]])  # no two atoms of an element on one position
    condition = FlowCondition(elements, torch.ones(1).long(), apart, present)
    torch.testing.assert_close(match_noise(noise, data, condition), noise)


def two_kinds(number: int) -> LatentData:
    """Crystals of two atoms: each element has latents of its own, z says how far apart they are."""
    rng = torch.Generator().manual_seed(3)
    spread = torch.rand(number, generator=rng) * 2 - 1
    z = spread[:, None].repeat(1, D) + 0.01 * torch.randn(number, D, generator=rng)
    sign = torch.tensor([1.0, -1.0])
    atoms = (2 * sign[None, :, None] + spread[:, None, None]).repeat(1, 1, K).reshape(-1, K)
    width = torch.full_like(atoms, -8.0)
    posterior = Posterior(
        Latent(z, torch.full_like(z, -8.0)), Latent(atoms, width), torch.full((number,), 2)
    )
    sites = CrystalSites(torch.ones(number).long(), torch.ones(2 * number).long())
    return LatentData(posterior, torch.tensor([3, 8]).repeat(number), sites)


def training(folder: Path, steps: int) -> FlowTraining:
    config = FlowTrainConfig(
        steps, batch_size=64, learning_rate=3e-3, warmup_steps=20, ema_decay=0.98
    )
    folder.mkdir(exist_ok=True)
    return FlowTraining(two_kinds(512), two_kinds(64), SIZE, config, folder)


def test_a_law_is_learned_and_follows_the_given_z(tmp_path: Path) -> None:
    flow = training(tmp_path, 400).run()
    rng = torch.Generator().manual_seed(4)
    elements = one_hot(torch.tensor([2, 7]), NUM_SPECIES).float().expand(128, 2, -1)
    condition = unknown_sites(elements)
    noise = LatentSet(torch.randn(128, D, generator=rng), torch.randn(128, 2, K, generator=rng))
    with torch.no_grad():
        drawn = flow.sample(noise, condition, 10)
        given = torch.linspace(-0.8, 0.8, 128)
        atoms = flow.sample_atoms(given[:, None].repeat(1, D), noise.atoms, condition, 10)
    expected = torch.stack([given + 2, given - 2], 1)
    assert (atoms.mean(2) - expected).abs().mean() < 0.25
    joint = torch.stack([drawn.z.mean(1) + 2, drawn.z.mean(1) - 2], 1)
    assert (drawn.atoms.mean(2) - joint).abs().mean() < 0.3
    assert drawn.z.mean(1).std() > 0.3  # uniform in ±1 has 0.58


def test_a_run_resumes_where_it_stopped(tmp_path: Path) -> None:
    whole = training(tmp_path / "whole", 12).run().state_dict()
    training(tmp_path / "parts", 7).run()
    parts = training(tmp_path / "parts", 12).run().state_dict()
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, rtol=0, atol=0)


def test_weights_are_kept_in_half_precision(tmp_path: Path) -> None:
    flow, path = random_flow().float(), tmp_path / "flow.safetensors"
    save_weights(flow, path, {"step": 7})
    copy = LatentFlow(D, K, SIZE)
    assert load_weights(copy, path) == {"step": 7}
    for name, tensor in flow.state_dict().items():
        torch.testing.assert_close(copy.state_dict()[name], tensor, rtol=1e-3, atol=1e-3)
    with pytest.raises(DataError, match=r"flow\.safetensors"):
        load_weights(LatentFlow(D + 1, K, SIZE), path)
