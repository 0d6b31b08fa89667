import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core.lattice import Lattice

from cdvae.geometry import lattice as lat
from tests.cdvae.conftest import random_crystals

cells = st.builds(
    lambda lengths, angles: Lattice.from_parameters(*lengths, *angles),
    st.tuples(*[st.floats(1.5, 25)] * 3),
    st.tuples(*[st.floats(62, 118)] * 3),
)


def batch(cell: Lattice) -> torch.Tensor:
    return torch.tensor(np.array(cell.matrix)[None])


@given(cells)
def test_volume_and_inverse_agree_with_pymatgen(cell: Lattice) -> None:
    assert lat.volume(batch(cell)).item() == pytest.approx(cell.volume)
    inverse = lat.inverse(batch(cell))[0].numpy()
    np.testing.assert_allclose(inverse @ cell.matrix, np.eye(3), atol=1e-9)


def test_inverse_of_left_handed_cell() -> None:
    left = torch.tensor([[[0.0, 3, 0], [3, 0, 0], [0, 0, 4]]])
    torch.testing.assert_close(lat.inverse(left) @ left, torch.eye(3)[None])
    assert lat.volume(left).item() == pytest.approx(36)


@given(cells)
def test_parameters_round_trip_in_pymatgen_orientation(cell: Lattice) -> None:
    lengths, angles = lat.to_parameters(batch(cell))
    np.testing.assert_allclose(lengths[0], cell.abc)
    np.testing.assert_allclose(angles[0], cell.angles)
    np.testing.assert_allclose(lat.from_parameters(lengths, angles)[0], cell.matrix, atol=1e-6)


@given(cells, st.integers(1, 30))
def test_log_metric_round_trip_and_rotation(cell: Lattice, n: int) -> None:
    num_atoms = torch.tensor([n])
    noise = torch.randn(3, 3, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    rotation = torch.linalg.qr(noise)[0]
    metric = lat.to_log_metric(batch(cell), num_atoms)
    turned = lat.to_log_metric(batch(cell) @ rotation, num_atoms)
    torch.testing.assert_close(metric, turned)
    back = lat.from_log_metric(metric, num_atoms)[0]
    np.testing.assert_allclose(back, cell.matrix, atol=1e-5)


@given(st.lists(st.floats(-2.0, 2.0), min_size=6, max_size=6))
def test_every_log_metric_is_a_valid_cell(numbers: list[float]) -> None:
    cell = lat.from_log_metric(torch.tensor([numbers], dtype=torch.float64), torch.tensor([5]))
    assert cell.isfinite().all()
    assert lat.volume(cell).item() > 0
    trace = sum(numbers[:3])
    assert lat.volume(cell).item() == pytest.approx(5 * np.exp(trace), rel=1e-4)


def test_images_reach_every_neighbor() -> None:
    crystals = random_crystals(8, seed=3)
    radius = torch.full((8,), 6.0)
    reach = lat.images_within(crystals.lattice, radius)
    for i, cell in enumerate(crystals.lattice.numpy()):
        # The farthest image along an axis within the radius of some point of the home cell.
        spacing = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
        assert (reach[i].numpy() >= np.floor(6.0 / spacing)).all()
