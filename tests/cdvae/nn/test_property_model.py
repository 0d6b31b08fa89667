from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cdvae.config import TrainConfig, load_config
from cdvae.data.dataset import CrystalDataset
from cdvae.errors import DataError
from cdvae.geometry.crystal import CrystalBatch
from cdvae.inference import SamplerSpec, decode, estimate
from cdvae.model_folder import TrainedModel, load_model
from cdvae.nn.backbone import BackboneConfig
from cdvae.nn.encoder import Latents
from cdvae.nn.property_model import PropertyModel
from cdvae.testing import TINY_CONFIG, perovskites, write_tiny_model
from cdvae.training.graph_cache import Graphs
from cdvae.training.property_training import (
    SIZE_GROUP,
    fit_property_model,
    load_property_model,
    mean_errors,
    property_model_loss,
)
from cdvae.training.schedule import batches
from tests.cdvae.conftest import random_crystals


@pytest.fixture(scope="module")
def property_model() -> PropertyModel:
    """Return an untrained model in double precision, so that invariances hold to rounding."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = PropertyModel(BackboneConfig(layers=2, scalars=24, vectors=8, radial=8), 2)
    data = perovskites(32)
    model.fit_scalers(data.crystals, data.properties)
    return model.double().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def crystals() -> CrystalBatch:
    batch = random_crystals(8, 5)
    return batch.replace(frac_coords=batch.frac_coords.double(), lattice=batch.lattice.double())


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY_CONFIG)
    return load_config(path)


def with_settings(config: TrainConfig, **settings: object) -> TrainConfig:
    return replace(config, property_model=replace(config.property_model, **settings))


def test_values_depend_neither_on_frame_nor_on_origin(
    property_model: PropertyModel, crystals: CrystalBatch
) -> None:
    rng = torch.Generator().manual_seed(1)
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=rng, dtype=torch.float64))
    expected = property_model.values(crystals)
    turned = crystals.replace(lattice=crystals.lattice @ q)
    torch.testing.assert_close(property_model.values(turned), expected, atol=1e-9, rtol=0)
    shift = torch.rand(len(crystals), 3, generator=rng, dtype=torch.float64)
    moved = crystals.replace(frac_coords=(crystals.frac_coords + shift[crystals.batch]) % 1)
    torch.testing.assert_close(property_model.values(moved), expected, atol=1e-9, rtol=0)
    assert expected.std(0).min() > 1e-3  # they differ between crystals


def test_values_are_intensive_and_do_not_depend_on_the_cell(
    property_model: PropertyModel, crystals: CrystalBatch
) -> None:
    """A cell doubled along b and another basis of the lattice give the same values."""
    expected = property_model.values(crystals)
    for i, crystal in enumerate(crystals.split()):
        half = torch.tensor([1, 0.5, 1], dtype=torch.float64)
        doubled = CrystalBatch(
            torch.cat(
                [crystal.frac_coords * half, (crystal.frac_coords + torch.tensor([0, 1, 0])) * half]
            ),
            crystal.atomic_numbers.repeat(2),
            crystal.lattice * torch.tensor([1, 2, 1])[:, None],
            2 * crystal.num_atoms,
        )
        basis = torch.tensor([[1, 1, 0], [0, 1, 0], [0, -1, 1]], dtype=torch.float64)
        sheared = crystal.replace(
            lattice=basis @ crystal.lattice,
            frac_coords=(crystal.frac_coords @ torch.linalg.inv(basis)) % 1,
        )
        for other in (doubled, sheared):
            torch.testing.assert_close(
                property_model.values(other), expected[i : i + 1], atol=1e-9, rtol=0
            )


def test_values_do_not_depend_on_the_batch(
    property_model: PropertyModel, crystals: CrystalBatch
) -> None:
    expected = property_model.values(crystals)
    alone = torch.cat([property_model.values(crystal) for crystal in crystals.split()])
    torch.testing.assert_close(alone, expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("scale", [0.02, 0.3, 3.0, 50.0])
def test_strange_crystals_have_finite_values(
    property_model: PropertyModel, crystals: CrystalBatch, scale: float
) -> None:
    """The cells are extremely dense, thin, needle-shaped or have all atoms at one point."""
    odd = crystals.replace(lattice=crystals.lattice * scale)
    on_a_point = odd.replace(frac_coords=torch.zeros_like(odd.frac_coords))
    needle = odd.replace(lattice=odd.lattice * torch.tensor([0.3, 1.0, 6.0])[:, None])
    for batch in (odd, on_a_point, needle):
        single = batch.replace(frac_coords=batch.frac_coords.float(), lattice=batch.lattice.float())
        values = property_model.float().values(single)
        property_model.double()
        assert values.isfinite().all()


def test_geometry_is_the_same_from_the_store(property_model: PropertyModel) -> None:
    batch = random_crystals(9, 3)
    batch = batch.replace(frac_coords=batch.frac_coords.double(), lattice=batch.lattice.double())
    rows = torch.tensor([7, 0, 3, 3])
    stored = Graphs(property_model, batch).select(rows)
    fresh = property_model.geometry(batch.select(rows))
    for name in ("radial", "vector", "place"):
        torch.testing.assert_close(getattr(stored, name), getattr(fresh, name), msg=name)


def test_scalers_leave_out_what_is_unknown(property_model: PropertyModel) -> None:
    model = PropertyModel(property_model.config, 2)
    values = torch.tensor([[1.0, torch.nan], [3.0, 5.0], [torch.nan, 5.0], [5.0, 5.0]])
    model.fit_scalers(perovskites(4).crystals, values)
    torch.testing.assert_close(model.property_mean, torch.tensor([3.0, 5.0]))
    assert model.property_std[0] == pytest.approx((8 / 3) ** 0.5)
    assert model.property_std[1] == pytest.approx(1e-6)


def test_loss_is_huber_over_what_is_known() -> None:
    target = torch.tensor([[0.0, torch.nan], [2.0, 1.0]])
    predicted = torch.tensor([[0.05, 7.0], [1.0, 1.0]], requires_grad=True)
    loss = property_model_loss(predicted, target)
    # 0.05²/(2·0.1) and 1 - 0.1/2 and 0, over three known values
    assert float(loss.detach()) == pytest.approx((0.0125 + 0.95 + 0.0) / 3)
    loss.backward()
    assert predicted.grad is not None
    assert predicted.grad[0, 1] == 0
    nothing = property_model_loss(torch.ones(2, 1), torch.full((2, 1), torch.nan))
    assert float(nothing) == 0


def test_an_epoch_sees_every_crystal_once_in_batches_of_similar_size(config: TrainConfig) -> None:
    num_atoms = torch.randint(1, 21, (800,), generator=torch.Generator().manual_seed(0))
    settings = with_settings(config, steps=250).property_model

    def drawn(start: int) -> list[torch.Tensor]:
        steps = range(start, settings.steps)
        size, seed = settings.batch_size, settings.seed
        return list(batches(num_atoms, size, seed, steps, pool_batches=SIZE_GROUP))

    epoch = drawn(0)[:100]
    assert sorted(torch.cat(epoch).tolist()) == list(range(800))
    spread = torch.stack([num_atoms[rows].double().std() for rows in epoch]).mean()
    assert spread < 0.5 * num_atoms.double().std()
    whole, resumed = drawn(0), drawn(130)
    assert all(torch.equal(a, b) for a, b in zip(whole[130:], resumed, strict=True))


def test_it_learns_what_structure_and_elements_decide(config: TrainConfig, tmp_path: Path) -> None:
    """The values are the cell length and the anion of crystals outside the training data."""
    data, unseen = perovskites(128, 1), perovskites(64, 2)
    settings = with_settings(config, steps=160, batch_size=16, learning_rate=5e-3)
    _, errors = fit_property_model(settings, data, unseen, tmp_path, lambda step, loss: None)
    spread = (unseen.properties - unseen.properties.median(0).values).abs().mean(0)
    assert errors["formation_energy"] < 0.25 * spread[0]
    assert errors["band_gap"] < 0.25 * spread[1]


def test_an_interrupted_fit_ends_where_an_uninterrupted_one_does(
    config: TrainConfig, tmp_path: Path
) -> None:
    data = perovskites(24)
    settings = with_settings(config, steps=7)

    def stop(step: int, loss: float) -> None:
        if step == 4:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fit_property_model(settings, data, data, tmp_path / "a", stop, checkpoint_seconds=0)
    with pytest.raises(DataError, match="4 of 7"):
        load_property_model(settings, tmp_path / "a")
    steps = []
    resumed, errors = fit_property_model(
        settings, data, data, tmp_path / "a", lambda step, loss: steps.append(step)
    )
    assert steps == [5, 6, 7]
    straight, _ = fit_property_model(settings, data, data, tmp_path / "b", lambda step, loss: None)
    for a, b in zip(resumed.parameters(), straight.parameters(), strict=True):
        assert torch.equal(a, b)

    again, kept = fit_property_model(
        settings, data, data, tmp_path / "a", stop
    )  # does not call on_step
    assert kept == errors
    graphs = Graphs(again, data.crystals)
    assert mean_errors(again, graphs, data) == pytest.approx(errors)


def test_too_little_data_for_a_batch_is_an_error(config: TrainConfig, tmp_path: Path) -> None:
    tiny = perovskites(3)
    with pytest.raises(DataError, match="3 training crystals"):
        fit_property_model(config, tiny, tiny, tmp_path, lambda step, loss: None)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    return load_model(write_tiny_model(tmp_path_factory.mktemp("store")))


def test_estimates_come_from_the_estimator_alone(model: TrainedModel) -> None:
    data: CrystalDataset = perovskites(70)
    values = estimate(model, data.crystals)
    assert list(values) == ["formation_energy", "band_gap"]
    stacked = torch.stack(list(values.values()), 1)
    expected = model.property_model.values(data.crystals)  # without an interruption
    torch.testing.assert_close(stacked, expected, atol=1e-4, rtol=1e-4)


def test_decoded_crystals_are_judged_by_the_estimator(model: TrainedModel) -> None:
    decoded = decode(
        model, Latents.of(model.reference.latents[:3]), [1, 2, 3], SamplerSpec("ancestral", 4)
    )
    values = estimate(model, decoded.crystals)
    for name, expected in values.items():
        torch.testing.assert_close(decoded.properties[name], expected, atol=1e-4, rtol=1e-4)
