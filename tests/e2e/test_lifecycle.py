"""Start and stop: ready, Ctrl-C, a port that is taken, the demonstration. No process is left."""

import json
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.e2e.service import CDVAE, Service, environment
from tests.waiting import HANG_SECONDS


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything(tmp_path: Path, number: int) -> None:
    service = Service(tmp_path)
    service.start()
    # API, worker, executor and Redis.
    processes = service.processes()
    assert len(processes) == 4
    service.submit("/generate", {"num_samples": 5000})
    started = time.monotonic()
    assert service.stop(number) == 0
    assert time.monotonic() - started < 15
    psutil.wait_procs(processes, timeout=HANG_SECONDS)
    assert [p for p in processes if p.is_running()] == []


def test_a_killed_supervisor_takes_everything_along(tmp_path: Path) -> None:
    service = Service(tmp_path)
    service.start()
    processes = service.processes()
    assert service.stop(signal.SIGKILL) == -signal.SIGKILL
    psutil.wait_procs(processes, timeout=HANG_SECONDS)
    assert [p for p in processes if p.is_running()] == []


def serve(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CDVAE, "serve", *arguments],
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = serve(tmp_path, "--port", str(port))
    assert ended.returncode == 1
    assert f"127.0.0.1:{port}" in ended.stderr
    assert "CDVAE_PORT" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_demonstration(tmp_path: Path) -> None:
    before = {p.pid for p in psutil.Process().children(recursive=True)}
    ended = subprocess.run(
        [*CDVAE, "demo", "-n", "3", "--out", str(tmp_path / "out")],
        env=environment(tmp_path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert len(list((tmp_path / "out").glob("*.cif"))) == 3
    for word in ("formula", "space group", "valid", "formation", "uniqueness"):
        assert word in ended.stdout
    assert {p.pid for p in psutil.Process().children(recursive=True)} <= before


def test_a_demonstration_without_a_model_fails_with_a_sentence(tmp_path: Path) -> None:
    variables = environment(tmp_path)
    for card in (tmp_path / "store").glob("*/*/card.json"):
        card.write_text(json.dumps({"name": "nothing else"}))
    ended = subprocess.run(
        [*CDVAE, "demo", "--out", str(tmp_path / "out")],
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    assert ended.returncode == 1
    assert "worker" in ended.stdout
    assert "logs" in ended.stdout
    assert not (tmp_path / "out").exists()
