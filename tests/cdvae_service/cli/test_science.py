"""`cdvae sample` and `cdvae evaluate`, on the tiny model."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cdvae.testing import write_tiny_model
from cdvae_service.cli.entry import app
from tests.e2e.service import SRTIO3


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    write_tiny_model(folder)
    return folder


def run(store: Path, *words: str) -> Result:
    return CliRunner().invoke(app, [*words, "--store", str(store)])


def test_each_cif_says_how_many_evaluations_its_crystal_took(store: Path, tmp_path: Path) -> None:
    options = ["--nfe", "6", "--out", str(tmp_path), "-n", "3"]
    assert run(store, "sample", "tiny", *options).exit_code == 0
    nfe = []
    for path in tmp_path.glob("*.cif"):
        said = dict(
            line[2:].split(": ") for line in path.read_text().splitlines() if line.startswith("# ")
        )
        assert said["sampler"] == "ancestral"
        nfe.append(int(said["nfe"]))
    summary = json.loads((tmp_path / "summary.json").read_text())
    origin = summary["provenance"]
    assert origin["nfe"] == pytest.approx(sum(nfe) / 3)
    assert origin["max_nfe"] == max(nfe) > 0
    assert summary["metrics"]["max_nfe"] == max(nfe)


def test_an_evaluation_is_printed_where_no_file_is_named(store: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_text('material_id,cif\n1,"' + SRTIO3.replace('"', '""') + '"\n')
    options = ["--task", "recon", "--data", str(data), "--limit", "1", "--nfe", "2"]
    done = run(store, "evaluate", "tiny", *options)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["number"] == 1
