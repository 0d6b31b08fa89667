"""`cdvae critic label` with the tiny model and the real potential; `cdvae hull`."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cdvae.stability.labels import label_file, read_labels
from cdvae.stability.phase_reference import read_reference
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


CARD = 'name = "made"\nversion = "1"\nsource = "a test"\nlicence = "none"\n'


def test_a_reference_is_built_and_fitted(tmp_path: Path) -> None:
    card, table = tmp_path / "card.toml", tmp_path / "energies.csv"
    card.write_text(CARD)
    lines = ("a,Li,0.0,-2.0", "b,O2,0.0,-5.0", "c,Li2O,-2.0,-5.0")
    table.write_text(
        "\n".join(["material_id,formula,formation_energy_per_atom,energy_per_atom", *lines])
    )
    options = ["--out", str(tmp_path), "--energies", str(table)]
    column = ["--column", "formation_energy_per_atom"]
    made = CliRunner().invoke(app, ["hull", "build", str(card), *options, *column])
    assert made.exit_code == 0, made.output
    path = tmp_path / "made.safetensors"
    fitted = ["hull", "fit", str(path), "--energies", str(table), "--formation", str(table)]
    done = CliRunner().invoke(app, [*fitted, "--label", "P 1"])
    assert done.exit_code == 0, done.output
    shifts = read_reference(path).element_shifts("P 1")
    assert shifts == pytest.approx({3: -2.0, 8: -5.0}, abs=1e-3)


def test_a_card_without_its_facts_is_refused(tmp_path: Path) -> None:
    card = tmp_path / "card.toml"
    card.write_text('name = "made"\n')
    made = CliRunner().invoke(app, ["hull", "build", str(card), "--out", str(tmp_path)])
    assert made.exit_code == 1
    assert "licence" in made.output
