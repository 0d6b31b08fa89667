"""`cdvae keys`, and the conditions for listening to other machines."""

import os
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.auth.key_file import key_file
from cdvae_service.cli.entry import app
from cdvae_service.cli.stack.exposure import ExposedError, check_exposure, is_loopback
from cdvae_service.cli.stack.stack import Stack, StackError, free_port


def run(*words: str, home: Path) -> str:
    answer = CliRunner().invoke(app, ["keys", *words, "--home", str(home)])
    assert answer.exit_code == 0, answer.output
    return answer.output


def test_a_key_is_made_listed_and_revoked(tmp_path: Path) -> None:
    made = run("create", "robot", "--per-minute", "30", "--unfinished", "7", home=tmp_path)
    found = re.search(r"cdvae_([0-9a-f]{12})_[0-9a-f]{64}", made)
    assert found is not None
    assert "whsec_" in made
    key = key_file(tmp_path).find(found.group())
    assert key is not None
    assert (key.name, key.requests_per_minute, key.unfinished_jobs) == ("robot", 30, 7)
    listed = run("list", home=tmp_path)
    assert key.id in listed
    assert "robot" in listed
    assert found.group() not in listed
    assert "whsec_" not in listed
    run("revoke", key.id, home=tmp_path)
    assert key_file(tmp_path).find(found.group()) is None


def test_an_unknown_key_is_an_error_in_a_line(tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, ["keys", "revoke", "x", "--home", str(tmp_path)])
    assert answer.exit_code == 1
    assert "no key 'x'" in answer.output
    assert "Traceback" not in answer.output


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1", "[::1]"])
def test_this_machine_alone(host: str, tmp_path: Path) -> None:
    assert is_loopback(host)
    assert check_exposure(host, tmp_path) is False


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "lab.example", "", "127.1"])
def test_the_network_needs_a_key(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CDVAE_ALLOW_ANONYMOUS", raising=False)
    with pytest.raises(ExposedError, match="cdvae keys create"):
        check_exposure(host, tmp_path)
    _, key = key_file(tmp_path).create("lab")
    assert check_exposure(host, tmp_path) is True
    key_file(tmp_path).revoke(key.id)
    with pytest.raises(ExposedError):
        check_exposure(host, tmp_path)
    monkeypatch.setenv("CDVAE_ALLOW_ANONYMOUS", "1")
    assert check_exposure(host, tmp_path) is False


@pytest.mark.usefixtures("logging_as_it_was")
def test_the_commands_refuse_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CDVAE_ALLOW_ANONYMOUS", raising=False)
    monkeypatch.setenv("CDVAE_HOME", str(tmp_path))
    answer = CliRunner().invoke(app, ["api", "--host", "0.0.0.0"])
    assert answer.exit_code == os.EX_CONFIG
    assert "cdvae keys create" in answer.output
    with pytest.raises(StackError, match="cdvae keys create"):
        Stack(tmp_path, "0.0.0.0", free_port(), "redis://nowhere").start()
