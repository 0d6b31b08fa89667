"""`cdvae models` on real stores."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cdvae_service.cli.entry import app
from cdvae_service.models.local_store import LocalStore
from tests.cdvae_service.models.conftest import write_model


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    write_model(folder, "perov-5", "9")
    write_model(folder, "perov-5", "10")
    return folder


def models(store: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["models", *words, "--store", str(store)])


def marked(answer: Result) -> list[str]:
    lines = [line.split() for line in answer.output.splitlines()]
    return [words[1] for words in lines if words[:1] == ["*"]]


def test_list_marks_the_default_and_names_what_is_broken(store: Path) -> None:
    answer = models(store, "list")
    assert answer.exit_code == 0
    assert marked(answer) == ["perov-5@10"]
    assert "perov-5@9" in answer.output
    (store / "perov-5" / "9" / "card.json").write_text("{}")
    assert "cannot be used" in models(store, "list").output


def test_show_prints_the_card(store: Path) -> None:
    answer = models(store, "show", "perov-5")
    assert json.loads(answer.output)["version"] == "10"
    unknown = models(store, "show", "perov-6")
    assert unknown.exit_code == 1
    assert "known: perov-5" in unknown.output


def test_verify_finds_the_file_that_changed(store: Path) -> None:
    whole = models(store, "verify")
    assert (whole.exit_code, whole.output) == (0, "perov-5@10: ok\nperov-5@9: ok\n")
    (store / "perov-5" / "9" / "config.toml").write_text("seed = 2\n")
    answer = models(store, "verify")
    assert answer.exit_code == 1
    assert "perov-5@10: ok" in answer.output
    assert "perov-5@9: sha256 of config.toml" in answer.output
    assert models(store, "verify", "perov-5@10").exit_code == 0


def test_add_and_make_it_the_default(store: Path, tmp_path: Path) -> None:
    source = write_model(tmp_path / "new", "perov-5", "11")
    assert models(store, "add", str(source), "--default").output == (
        "perov-5@11 added, the default now\n"
    )
    assert LocalStore(store).default() == "perov-5@11"
    assert marked(models(store, "list")) == ["perov-5@11"]
    again = models(store, "add", str(source))
    assert (again.exit_code, "already" in again.output) == (1, True)


def test_a_damaged_folder_is_not_added(store: Path, tmp_path: Path) -> None:
    source = write_model(tmp_path / "new", "perov-5", "11")
    (source / "weights.safetensors").write_text("damaged")
    answer = models(store, "add", str(source), "--default")
    assert answer.exit_code == 1
    assert "sha256" in answer.output
    assert LocalStore(store).references() == ["perov-5@10", "perov-5@9"]


def test_a_store_at_a_url_is_read(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CDVAE_HOME", str(tmp_path / "home"))
    words = ["--store", f"file://{store}"]
    answer = CliRunner().invoke(app, ["models", "verify", *words])
    assert answer.output == "perov-5@10: ok\nperov-5@9: ok\n"
    source = write_model(tmp_path / "new", "perov-5", "11")
    assert CliRunner().invoke(app, ["models", "add", str(source), *words]).exit_code == 1


def pull(store: Path, to: Path, *words: str) -> Result:
    return CliRunner().invoke(
        app, ["models", "pull", "--from", f"file://{store}", "--to", str(to), *words]
    )


def test_pull_copies_a_store_and_keeps_what_is_there(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CDVAE_HOME", str(tmp_path / "home"))
    (store / "default.txt").write_text("perov-5@9\n")
    copy = LocalStore(tmp_path / "copy")
    assert pull(store, copy.folder, "perov-5@10").exit_code == 0
    assert (copy.references(), copy.default()) == (["perov-5@10"], "perov-5")
    answer = pull(store, copy.folder)
    assert answer.output.splitlines()[:2] == ["perov-5@10 kept", "perov-5@9 copied"]
    assert copy.default() == "perov-5@9"
    assert models(copy.folder, "verify").exit_code == 0


def test_pull_refuses_a_damaged_model(store: Path, tmp_path: Path) -> None:
    (store / "perov-5" / "9" / "weights.safetensors").write_text("damaged")
    answer = CliRunner().invoke(
        app, ["models", "pull", "--from", str(store), "--to", str(tmp_path / "copy")]
    )
    assert (answer.exit_code, "sha256" in answer.output) == (1, True)
    assert LocalStore(tmp_path / "copy").references() == ["perov-5@10"]


def test_an_empty_store_is_named(tmp_path: Path) -> None:
    answer = models(tmp_path / "empty", "list")
    assert answer.exit_code == 1
    assert str(tmp_path / "empty") in answer.output
