"""`cdvae critic label`, with the tiny model and the real potential."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cdvae.stability.labels import label_file, read_labels
from cdvae.testing import write_tiny_model
from cdvae_service.cli.entry import app

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # of chgnet


def test_labels_are_resumed_by_seed(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "store")
    out = tmp_path / "labels"

    def run(*words: str) -> Result:
        options = ["--store", str(tmp_path / "store"), "--out", str(out), "-n", "2", "--nfe", "20"]
        return CliRunner().invoke(app, ["critic", "label", "tiny", *options, *words])

    first = run("--seeds", "1", "--first-seed", "5", "--max-steps", "2", "--threads", "1")
    assert first.exit_code == 0, first.output
    written = label_file(out, 5).stat().st_mtime_ns
    again = run("--seeds", "2", "--first-seed", "5", "--max-steps", "2", "--threads", "1")
    assert again.exit_code == 0, again.output
    assert label_file(out, 5).stat().st_mtime_ns == written
    found = list(read_labels(out))
    assert [(one.seed, one.index) for one in found] == [(5, 0), (5, 1), (6, 0), (6, 1)]
    for one in found:
        assert (one.energy is None) == (one.reason is not None)
    unknown = run("--potential", "nothing")
    assert unknown.exit_code == 1
    assert "nothing" in unknown.output
