"""`cdvae doctor` reports faults and remedies."""

import json
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from typer.testing import CliRunner

from cdvae.testing import write_tiny_model
from cdvae_service.cli.entry import app
from cdvae_service.cli.operations import installation_checks
from cdvae_service.cli.operations.service_checks import check_redis, check_server
from cdvae_service.cli.stack.stack import free_port


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_tiny_model(tmp_path / "store")
    return tmp_path / "store"


def test_a_changed_file_of_a_model_is_found(store: Path) -> None:
    assert {one.level for one in installation_checks.check_models(str(store))} == {"ok"}
    (weights,) = store.glob("*/*/weights.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    finding = list(installation_checks.check_models(str(store)))[-1]
    assert finding.level == "fault"
    assert "weights.safetensors" in finding.detail
    assert finding.remedy


def test_no_model_is_a_fault(tmp_path: Path) -> None:
    (finding,) = installation_checks.check_models(str(tmp_path))
    assert (finding.level, "CDVAE_MODEL_STORE" in finding.remedy) == ("fault", True)


def test_packages_of_this_environment_fit() -> None:
    assert {one.level for one in installation_checks.check_packages()} <= {"ok", "note"}
    wanted = {requirement.name for requirement in installation_checks._requirements("app")}
    assert {"fastapi", "redis", "pydantic-settings"} <= wanted  # also those of included sets
    assert "torch" not in wanted


def test_a_missing_set_is_a_note_and_a_broken_one_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation_checks, "PURPOSES", {"client": "the client"})
    lacking = [Requirement("no-such-package>=1"), Requirement("no-such-other")]
    monkeypatch.setattr(installation_checks, "_requirements", lambda _: lacking)
    assert [one.level for one in installation_checks.check_packages()] == ["note"]
    lacking.append(Requirement("rich<1"))
    (finding,) = installation_checks.check_packages()
    assert finding.level == "fault"
    assert "rich is" in finding.detail
    assert finding.remedy == "pip install 'cdvae-service[client]'"


def test_redis_and_a_service_that_do_not_answer(redis_url: str) -> None:
    assert [one.level for one in check_redis(redis_url)] == ["ok"]
    assert [one.level for one in check_redis(None)] == ["ok"]
    nobody = f"127.0.0.1:{free_port()}"
    assert [one.level for one in check_redis(f"redis://{nobody}")] == ["fault"]
    assert [one.level for one in check_server(f"http://{nobody}", None, expected=True)] == ["fault"]
    assert [one.level for one in check_server(f"http://{nobody}", None, expected=False)] == ["note"]


def test_the_command_fails_where_something_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CDVAE_REDIS_URL", "CDVAE_SERVER"):
        monkeypatch.delenv(name, raising=False)
    words = ["doctor", "--json", "--store", str(tmp_path), "--home", str(tmp_path / "home")]
    answer = CliRunner().invoke(app, words)
    assert answer.exit_code == 1
    faults = [one for one in json.loads(answer.stdout) if one["level"] == "fault"]
    assert [one["subject"] for one in faults] == ["models"]
    assert "→" in CliRunner().invoke(app, ["doctor", *words[2:]]).stdout
