"""The FTCP baseline: matrices, network, training, and the folder of a trained model."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pymatgen.core.lattice import Lattice

from baselines.ftcp import ftcp_method, ftcp_training
from baselines.ftcp.element_features import element_descriptors
from baselines.ftcp.ftcp_config import FTCPConfig, is_ftcp, load_ftcp_config
from baselines.ftcp.ftcp_decoding import decode
from baselines.ftcp.ftcp_folder import load_ftcp, train_ftcp
from baselines.ftcp.network import FTCPNetwork
from baselines.ftcp.representation import Layout, reciprocal_points, represent
from cdvae.data.structures import to_structures
from cdvae.errors import DataError, ModelStoreError
from cdvae.geometry.crystal import CrystalBatch
from cdvae.testing import perovskites
from tests.cdvae.conftest import random_crystals

LAYOUT = Layout(max_elements=5, max_sites=5)
TABLES = ("units", "descriptions")
CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a small dense layer: nine million weights take a second per step on a busy machine."""
    monkeypatch.setattr("baselines.ftcp.network.HIDDEN", 16)


def srtio3() -> CrystalBatch:
    """Return strontium titanate with a = 3.905 Å."""
    frac_coords = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return CrystalBatch(
        torch.tensor(frac_coords, dtype=torch.float32),
        torch.tensor([38, 22, 8, 8, 8]),
        3.905 * torch.eye(3)[None],
        torch.tensor([5]),
    )


def test_sizes_are_those_of_the_original():
    assert (LAYOUT.rows, LAYOUT.channels) == (208, 64)
    assert Layout(7, 20).rows == 240
    assert Layout(1, 24).rows == 248
    assert Layout(1, 24).channels == 62


def test_element_descriptors():
    rows = element_descriptors()
    assert rows.shape == (103, 92)
    assert set(np.unique(rows)) == {0, 1}
    # Iron: group 8, period 4, X 1.83, 132 pm (low spin) to 152 pm, 8 electrons, ln 7.90 eV = 2.07,
    # affinity 0.15 eV, d block, ln 7.09 cm³/mol = 1.96.
    iron = set(rows[25].nonzero()[0])
    starts = np.cumsum([0, 18, 8, 10, 10, 12, 10, 10, 4])
    places = [7, 3, 3, 5, 7, 3, 4, 2, 1]
    expected = set((starts + places).tolist())
    assert iron == expected
    # Helium has no electronegativity; it has two valence electrons in group 18.
    helium = rows[1]
    assert helium[26:36].sum() == 0
    assert helium[46:58].argmax() == 1
    assert (rows[:, :18].sum(1) == 1).all()
    assert (rows[:, 46:58].sum(1) == 1).all()


def test_matrix_of_strontium_titanate():
    matrix = represent(srtio3(), LAYOUT)[0].T.numpy()
    assert matrix[37, 0] == matrix[21, 1] == matrix[7, 2] == 1  # Sr, Ti, O
    assert matrix[:103].sum() == 3
    assert matrix[103, :5] == pytest.approx([3.905, 3.905, 3.905, 0, 0])
    assert matrix[104, :5] == pytest.approx([90, 90, 90, 0, 0])
    assert matrix[105:110, :3] == pytest.approx(srtio3().frac_coords.numpy())
    assert matrix[110:115, :5].argmax(1).tolist() == [0, 1, 2, 2, 2]
    # (100) comes first, at 1/a; there Σ P π x is π/2 (Ti) + 2 · π/2 (O).
    assert matrix[115, :5].sum() == 0
    assert matrix[115, 5] == pytest.approx(1 / 3.905)
    descriptors = element_descriptors()
    assert matrix[116:, 5] == pytest.approx(math.pi / 2 * (descriptors[21] + 2 * descriptors[7]))
    # (-1 0 0) is the last of the six nearest, with the opposite sign.
    assert matrix[116:, 10] == pytest.approx(-matrix[116:, 5])


def test_reciprocal_points_are_in_the_order_of_the_original():
    points, lengths = reciprocal_points(4 * np.eye(3))
    nearest = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, -1], [0, -1, 0], [-1, 0, 0], [2, 0, 0]]
    assert points[:7].tolist() == nearest
    assert len(points) == 59
    assert lengths[6] == 0.5


def test_reciprocal_points_are_those_of_pymatgen():
    lattice = Lattice.from_parameters(2.5, 6.1, 9.3, 70, 95, 112)
    points, lengths = reciprocal_points(lattice.matrix)
    found = lattice.reciprocal_lattice_crystallographic.get_points_in_sphere(
        [[0, 0, 0]], [0, 0, 0], 1.297, zip_results=False
    )
    images, distances = np.round(found[0]).astype(int), found[1]
    known = {tuple(i): d for i, d in zip(images.tolist(), distances, strict=True) if any(i)}
    assert len(known) > 59
    assert lengths == pytest.approx([known[tuple(p)] for p in points.tolist()])
    kept = {tuple(p) for p in points.tolist()}
    farthest = np.abs(points).sum(1).max()
    assert all(sum(map(abs, p)) >= farthest for p in known.keys() - kept)


def test_a_small_cell_has_zeros_for_missing_points():
    crystal = CrystalBatch(
        torch.zeros(1, 3), torch.tensor([6]), 1.5 * torch.eye(3)[None], torch.tensor([1])
    )
    matrix = represent(crystal, LAYOUT)[0].T
    lengths = matrix[LAYOUT.length, LAYOUT.columns :]
    count = int((lengths > 0).sum())
    assert count == 32  # integer points with 0 < |n| <= 1.4 · 1.5 = 2.1: 6 + 12 + 8 + 6
    assert (lengths[count:] == 0).all()


def test_decoding_inverts_the_matrix():
    layout = Layout(max_elements=6, max_sites=6)
    crystals = random_crystals(20, seed=3)
    matrices = represent(crystals, layout).mT.numpy()
    for expected, matrix in zip(to_structures(crystals), matrices, strict=True):
        found = decode(matrix, layout)
        assert found is not None
        assert found.atomic_numbers == expected.atomic_numbers
        assert found.frac_coords == pytest.approx(expected.frac_coords, abs=1e-6)
        assert found.lattice.parameters == pytest.approx(expected.lattice.parameters, abs=1e-3)


def test_an_empty_row_is_no_site():
    matrix = represent(srtio3(), LAYOUT)[0].T.numpy()
    matrix[LAYOUT.occupancy.start + 1] = 0.04
    found = decode(matrix, LAYOUT)
    assert found is not None
    assert found.atomic_numbers == (38, 8, 8, 8)
    matrix[LAYOUT.occupancy] = 0.04
    assert decode(matrix, LAYOUT) is None


def test_scales_come_from_the_data_and_are_undone():
    data = perovskites(40)
    matrices = represent(data.crystals, LAYOUT)
    values = data.properties.clone()
    values[3] = torch.nan
    network = FTCPNetwork(LAYOUT, values.shape[1], 8)
    network.fit_scales(matrices, values)
    scaled = network.scale(matrices)
    assert float(scaled.min()) == 0
    assert float(scaled.max()) == pytest.approx(1)
    # A row that varies reaches 0 and 1, over all columns together.
    ends = scaled[:, :, LAYOUT.lattice.start]
    assert (float(ends.amin()), float(ends.amax())) == (0, 1)
    assert torch.allclose(network.unscale(scaled), matrices, atol=1e-4)
    known = network.scale_properties(values)[~values.isnan().any(1)]
    assert known.amin(0).tolist() == [0, 0]
    assert known.amax(0).tolist() == [1, 1]


def test_loss_is_a_sum_over_the_batch_beside_a_mean():
    network = FTCPNetwork(LAYOUT, 2, 4).eval().requires_grad_(False)
    for module in (network.posterior, network.output, network.target[-2]):
        module.weight.zero_()
    network.posterior.bias[:4] = 3.0  # mean 3, variance 1: KL ½ · 9 per dimension
    scaled = torch.zeros(6, LAYOUT.channels, LAYOUT.rows)  # outputs are sigmoid(0) = ½
    targets = torch.tensor([[0.0, math.nan]] * 6)
    total = ftcp_training.loss(network, scaled, targets, torch.zeros(6, 4))
    expected = 6 * 64 * 208 * 0.25 + 2 * 4.5 + 10 * 6 * 0.25
    assert float(total) == pytest.approx(expected)


def test_an_unknown_property_leaves_every_gradient_finite():
    network = FTCPNetwork(LAYOUT, 2, 4)
    scaled = torch.rand(6, LAYOUT.channels, LAYOUT.rows)
    targets = torch.full((6, 2), 0.5)
    targets[1, 0] = targets[4, 1] = math.nan
    ftcp_training.loss(network, scaled, targets, torch.zeros(6, 4)).backward()
    assert all(weights.grad.isfinite().all() for weights in network.parameters())


def config(epochs: int = 2) -> FTCPConfig:
    return FTCPConfig(
        method="ftcp",
        name="tiny",
        dataset="perovskites",
        description="a few crystals",
        properties=["formation_energy", "band_gap"],
        units={"formation_energy": "eV", "band_gap": "eV"},
        descriptions={"formation_energy": "one", "band_gap": "two"},
        max_elements=5,
        max_sites=5,
        epochs=epochs,
        latent_dim=8,
        batch_size=8,
    )


class StopError(Exception):
    """Simulates a crash."""


@pytest.mark.parametrize("at", [3, 4])  # at the end of an epoch and within one
def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path, at):
    data = perovskites(20)  # three batches per epoch, the last one with four crystals
    whole = ftcp_training.train_network(config(), data, tmp_path / "whole").state_dict()

    def stop(step):
        if step == at:
            raise StopError

    with pytest.raises(StopError):
        ftcp_training.train_network(
            config(), data, tmp_path / "cut", on_step=stop, checkpoint_seconds=0
        )
    resumed = ftcp_training.train_network(config(), data, tmp_path / "cut").state_dict()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    curves = [(tmp_path / run / "train.csv").read_text() for run in ("whole", "cut")]
    assert curves[0] == curves[1]


def test_learning_rates_follow_the_original(tmp_path):
    ftcp_training.train_network(config(epochs=8), perovskites(8), tmp_path)
    rates = [line.split(",")[2] for line in (tmp_path / "train.csv").read_text().splitlines()[1:]]
    assert [float(rate) for rate in rates] == [5e-4] * 2 + [1e-4] * 2 + [5e-5] * 4


def test_a_broken_training_is_not_gone_on_with(tmp_path, monkeypatch):
    monkeypatch.setattr(ftcp_training, "KL_WEIGHT", math.nan)
    with pytest.raises(DataError, match="step 1: the loss is nan"):
        ftcp_training.train_network(config(), perovskites(8), tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_loss_falls(tmp_path):
    ftcp_training.train_network(config(epochs=40), perovskites(8), tmp_path)
    losses = [line.split(",")[1] for line in (tmp_path / "train.csv").read_text().splitlines()[1:]]
    assert float(losses[-1]) < 0.75 * float(losses[0])


class Mirror(FTCPNetwork):
    """A network whose latents are the matrices, to test only the code around it."""

    def encode(self, scaled):
        return scaled.flatten(1), torch.full_like(scaled.flatten(1), -100.0)

    def decode(self, latents):
        return latents.unflatten(1, (LAYOUT.channels, LAYOUT.rows))


@pytest.fixture
def mirror() -> ftcp_method.FTCPMethod:
    size = LAYOUT.channels * LAYOUT.rows
    data = perovskites(8)
    network = Mirror(LAYOUT, 2, 1)
    network.fit_scales(represent(data.crystals, LAYOUT), data.properties)
    return ftcp_method.FTCPMethod(replace(config(), latent_dim=size), {}, network)


@pytest.fixture
def untrained() -> ftcp_method.FTCPMethod:
    data = perovskites(8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = FTCPNetwork(LAYOUT, 2, 8)
    network.fit_scales(represent(data.crystals, LAYOUT), data.properties)
    return ftcp_method.FTCPMethod(config(), {}, network.eval().requires_grad_(False))


def test_a_perfect_network_reconstructs_every_crystal(mirror):
    data = perovskites(8)
    found = mirror.reconstruct(data, seed=0)
    for structure, expected in zip(found, to_structures(data.crystals), strict=True):
        assert structure.atomic_numbers == expected.atomic_numbers
        assert structure.frac_coords == pytest.approx(expected.frac_coords, abs=1e-5)
        assert structure.lattice.abc == pytest.approx(expected.lattice.abc, rel=1e-5)


def test_a_crystal_too_large_for_the_matrix_is_not_reconstructed(mirror):
    data = perovskites(3)
    crystal = data.crystals.select([0])
    large = CrystalBatch(
        crystal.frac_coords.repeat(2, 1),
        crystal.atomic_numbers.repeat(2),
        crystal.lattice,
        torch.tensor([10]),
    )
    mixed = replace(data.select([0, 1, 2]), crystals=CrystalBatch.cat([crystal, large, crystal]))
    found = mirror.reconstruct(mixed, seed=0)
    assert [structure is None for structure in found] == [False, True, False]


def test_generation_depends_on_seed_and_index_alone(untrained):
    method = untrained
    calls = []
    few = method.generate(3, seed=5, progress=lambda *call: calls.append(call))
    more = method.generate(300, seed=5)
    assert calls == [(3, 3)]
    for a, b in zip(few, more, strict=False):
        assert a.frac_coords == pytest.approx(b.frac_coords, abs=1e-4)
    other = method.generate(3, seed=6)
    assert abs(few[0].lattice.a - other[0].lattice.a) > 1e-3


def test_optimization_lowers_the_predicted_property(untrained, monkeypatch):
    method, data = untrained, perovskites(8)
    monkeypatch.setattr(ftcp_method, "OPTIMISATION_STEPS", 90)
    monkeypatch.setattr(ftcp_method, "DECODE_AFTER", (1, 40, 90))
    monkeypatch.setattr(ftcp_method, "LEARNING_RATE", 0.05)
    seen = []
    monkeypatch.setattr(
        ftcp_method.FTCPMethod, "_decode", lambda self, z: seen.append(z.clone()) or [None] * len(z)
    )
    found = method.optimize(data, "band_gap", seed=0)
    assert [len(decodings) for decodings in found] == [3] * 8
    values = torch.stack([method.network.predict(z)[:, 1] for z in seen])  # (3, 8)
    assert (values[-1] < values[0]).all()
    with pytest.raises(ValueError, match="no property 'hardness'"):
        method.optimize(data, "hardness", seed=0)


@pytest.mark.parametrize("name", ["perov-5", "mp-20"])
def test_shipped_settings_load(name):
    path = CONFIGS / f"ftcp-{name}.toml"
    assert is_ftcp(path)
    assert load_ftcp_config(path).method == "ftcp"
    assert not is_ftcp(CONFIGS / "perov-5.toml")


def test_wrong_settings_are_refused(tmp_path):
    path = tmp_path / "bad.toml"
    text = (CONFIGS / "ftcp-perov-5.toml").read_text()
    for good, bad, reason in [
        ("epochs = ", "epocs = ", "epocs"),
        ('method = "ftcp"', 'method = "other"', "method"),
        ('band_gap = "eV"', 'gap = "eV"', "units"),
        ("max_sites = 5", "max_sites = 0", "at least 1"),
    ]:
        path.write_text(text.replace(good, bad, 1))
        with pytest.raises(DataError, match=reason):
            load_ftcp_config(path)


def test_a_folder_is_written_read_and_checked(tmp_path, monkeypatch):
    data = replace(perovskites(8), metadata={"property_columns": ["heat_ref", "dir_gap"]})
    monkeypatch.setattr("baselines.ftcp.ftcp_folder.load_cache", lambda path: data)
    monkeypatch.setattr("baselines.ftcp.ftcp_folder.available_threads", lambda: 1)
    path = tmp_path / "config.toml"
    lines = [f"{k} = {json.dumps(v)}" for k, v in asdict(config()).items() if k not in TABLES]
    lines += [f'[{t}]\nformation_energy = "a"\nband_gap = "b"' for t in TABLES]
    path.write_text("\n".join(lines))
    out = tmp_path / "tiny" / "1"
    train_ftcp(path, tmp_path, tmp_path / "run", out, "abc")
    method = load_ftcp(out)
    assert (method.card["name"], method.card["version"]) == ("tiny", "1")
    assert method.card["properties"]["band_gap"]["source"] == "dir_gap"
    trained = ftcp_training.train_network(config(), data, tmp_path / "run").state_dict()
    assert all(torch.equal(v, trained[k]) for k, v in method.network.state_dict().items())
    weights = bytearray((out / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (out / "weights.safetensors").write_bytes(weights)
    with pytest.raises(ModelStoreError, match="sha256"):
        load_ftcp(out)
