import csv
from pathlib import Path

import pytest
import torch

from cdvae.config import TrainConfig, load_config
from cdvae.data.dataset import CrystalDataset
from cdvae.errors import DataError
from cdvae.geometry.crystal import CrystalBatch
from cdvae.model_folder import load_model
from cdvae.testing import TINY_CONFIG, perovskites, write_tiny_model
from cdvae.training.checkpoint import load_state
from cdvae.training.loop import train
from cdvae.training.schedule import batches, learning_rate, one_cycle
from cdvae.training.training_run import AutoencoderRun


def settings(tmp_path: Path, steps: int) -> TrainConfig:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY_CONFIG.replace("steps = 4", f"steps = {steps}"))
    return load_config(path)


@pytest.fixture(scope="module")
def data() -> CrystalDataset:
    return perovskites(24)


def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path, data: CrystalDataset) -> None:
    run = tmp_path / "run"
    train(settings(tmp_path, 5), data, data, run)
    _, meta = load_state(run / "state.safetensors")
    assert meta["step"] == 5
    model = train(settings(tmp_path, 8), data, data, run)
    groups, meta = load_state(run / "state.safetensors")
    assert meta["step"] == 8
    steps = {name: int(t) for name, t in groups["optimizer"].items() if name.endswith("/step")}
    assert max(steps.values()) == 8  # the decoder
    assert steps["0/step"] == 3  # the encoder, frozen after freeze_encoder_after
    with (run / "validation.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["5", "8"]
    for name, value in model.state_dict().items():
        assert torch.equal(value, groups["average"][f"module.{name}"]), name


class StopError(Exception):
    """Simulates a crash."""


@pytest.mark.parametrize("at", [2, 3, 5])  # before, at and after the encoder is frozen
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    tmp_path: Path, data: CrystalDataset, at: int
) -> None:
    config = settings(tmp_path, 6)
    whole = train(config, data, data, tmp_path / "whole")

    def stop(step: int) -> None:
        if step == at:
            raise StopError

    with pytest.raises(StopError):
        train(config, data, data, tmp_path / "cut", on_step=stop, checkpoint_seconds=0)
    resumed = train(config, data, data, tmp_path / "cut")
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_one_cycle_is_that_of_torch() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], 1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=100, pct_start=0.05)
    for step in range(100):
        group, ours = optimizer.param_groups[0], one_cycle(step, 100, 2e-3)
        assert ours["lr"] == pytest.approx(group["lr"], rel=1e-6, abs=1e-12)
        assert ours["betas"] == pytest.approx(group["betas"])
        optimizer.step()
        schedule.step()


def test_a_finished_run_is_not_trained_again(tmp_path: Path, data: CrystalDataset) -> None:
    run = tmp_path / "run"
    first = train(settings(tmp_path, 3), data, data, run)
    again = train(settings(tmp_path, 3), data, data, run)
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_fresh_run_begins_with_the_weights_of_a_model_folder(
    tmp_path: Path, data: CrystalDataset
) -> None:
    folder = write_tiny_model(tmp_path / "store", seed=5)
    config = settings(tmp_path, 3)
    begun = AutoencoderRun(config, data, tmp_path / "run", folder)
    there = load_model(folder).network.state_dict()
    scalers = {f"heads.{of}_{what}" for of in ("lattice", "property") for what in ("mean", "std")}
    for name, value in begun.model.state_dict().items():
        assert torch.equal(value, there[name]) or name in scalers, name
    with pytest.raises(DataError, match="initial weights"):
        AutoencoderRun(config, data, tmp_path / "run", tmp_path / "nowhere")
    train(config, data, data, tmp_path / "run")
    AutoencoderRun(
        config, data, tmp_path / "run", tmp_path / "nowhere"
    )  # resumed, so ``init`` is not read


def test_training_is_reproducible(tmp_path: Path, data: CrystalDataset) -> None:
    first = train(settings(tmp_path, 3), data, data, tmp_path / "a")
    second = train(settings(tmp_path, 3), data, data, tmp_path / "b")
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_every_crystal_is_seen_once_an_epoch_over_all_processes(tmp_path: Path) -> None:
    config = settings(tmp_path, 6).optimizer
    num_atoms = torch.randint(1, 21, (24,), generator=torch.Generator().manual_seed(0))

    def drawn(rank: int, peers: int, start: int = 0) -> list[torch.Tensor]:
        steps = range(start, config.steps)
        return list(batches(num_atoms, config.batch_size, config.seed, steps, rank, peers))

    seen = torch.cat([torch.cat(drawn(rank, 2)[:3]) for rank in (0, 1)])
    assert sorted(seen.tolist()) == list(range(24))
    assert torch.equal(drawn(0, 1)[4], drawn(0, 1, start=4)[0])


def test_a_batch_holds_crystals_of_about_one_size(tmp_path: Path) -> None:
    config = settings(tmp_path, 6).optimizer
    num_atoms = torch.randint(1, 21, (24,), generator=torch.Generator().manual_seed(0))
    spread = [
        num_atoms[rows].max() - num_atoms[rows].min()
        for rows in batches(num_atoms, config.batch_size, config.seed, range(config.steps))
    ]
    assert max(spread) <= 6  # the full range is 19; six random sizes span more than ten


def test_too_little_data_for_a_batch_is_an_error(tmp_path: Path) -> None:
    tiny = perovskites(3)
    with pytest.raises(DataError, match="3 training crystals"):
        train(settings(tmp_path, 2), tiny, tiny, tmp_path / "run")


def test_learning_rate_warms_up_and_decays(tmp_path: Path) -> None:
    config = settings(tmp_path, 1000).optimizer
    rates = [learning_rate(step, config) for step in range(1000)]
    assert rates[0] == pytest.approx(1e-3 / 300)
    assert max(rates) == pytest.approx(1e-3)
    assert rates[-1] == pytest.approx(2e-5, rel=0.05)


def test_a_file_that_is_no_state_is_refused(tmp_path: Path, data: CrystalDataset) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "state.safetensors").write_bytes(b"not a state")
    with pytest.raises(DataError, match="not a training state"):
        train(settings(tmp_path, 2), data, data, run)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("frac_coords", torch.zeros(4, 2)),
        ("atomic_numbers", torch.ones(3, dtype=torch.int64)),
        ("lattice", torch.eye(3)),
        ("num_atoms", torch.tensor([5])),
    ],
)
def test_shapes_that_do_not_fit_are_refused(field: str, value: torch.Tensor) -> None:
    fields = {
        "frac_coords": torch.zeros(4, 3),
        "atomic_numbers": torch.ones(4, dtype=torch.int64),
        "lattice": torch.eye(3)[None],
        "num_atoms": torch.tensor([4]),
    }
    CrystalBatch(**fields)
    with pytest.raises(ValueError, match=r"not|for|adds"):
        CrystalBatch(**{**fields, field: value})
