"""The embedded Redis and the supervisor."""

import os
import socket
import sys
import time
from pathlib import Path

import pytest
from redis import Redis
from typer.testing import CliRunner

from cdvae_service.cli.entry import app
from cdvae_service.cli.stack.redis_server import RedisServer, RedisServerError
from cdvae_service.cli.stack.stack import MAX_EARLY_DEATHS, Child, Stack, StackError, free_port


def test_data_outlive_the_server(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis")
    for value in ("first", "second"):
        server.start()
        with Redis.from_url(server.url) as client:
            assert client.get("key") == (None if value == "first" else b"first")
            client.set("key", value)
        server.stop()
        assert not server.alive()


def test_a_folder_with_a_long_path_works(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / ("long" * 25))
    server.start()
    with Redis.from_url(server.url) as client:
        assert client.ping()
    assert client.connection_pool.connection_kwargs["path"] not in str(tmp_path)
    server.stop()
    assert os.listdir(tmp_path / ("long" * 25))


def test_only_the_owner_can_connect(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis")
    server.start()
    try:
        assert (tmp_path / "redis").stat().st_mode & 0o077 == 0
        assert (tmp_path / "redis" / "redis.sock").stat().st_mode & 0o077 == 0
    finally:
        server.stop()


def test_a_server_that_cannot_start_says_where_to_look(tmp_path: Path) -> None:
    broken = tmp_path / "appendonlydir"
    broken.write_text("a file where the server wants a folder")
    with pytest.raises(RedisServerError, match=r"server\.log"):
        RedisServer(tmp_path).start()


def child(code: str) -> Child:
    return Child("toy", [sys.executable, "-c", code], dict(os.environ), None)


def test_a_dead_child_is_started_again_but_later_and_later() -> None:
    toy = child("raise SystemExit(3)")
    delays = []
    for deaths in range(1, 4):
        toy.start()
        assert toy.process is not None
        toy.process.wait()
        toy.watch()
        assert (toy.deaths, toy.status) == (deaths, 3)
        delays.append(toy.not_before - time.monotonic())
    assert delays == sorted(delays)
    assert delays[0] > 0


@pytest.mark.parametrize(("status", "deaths"), [(os.EX_CONFIG, 1), (1, MAX_EARLY_DEATHS)])
def test_a_child_that_cannot_start_ends_the_wait(tmp_path: Path, status: int, deaths: int) -> None:
    stack = Stack(tmp_path, "127.0.0.1", 1, "redis://nowhere")
    toy = child("")
    stack._children.append(toy)
    toy.status, toy.deaths = status, deaths
    with pytest.raises(StackError, match="toy"):
        stack.check_start()
    toy.status, toy.deaths = 1, 1
    stack.check_start()


def test_a_taken_port_and_a_taken_home_are_refused(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(StackError, match="CDVAE_PORT"),
    ):
        Stack(tmp_path, "127.0.0.1", taken.getsockname()[1], None).start()
    stack = Stack(tmp_path, "127.0.0.1", free_port(), None)
    try:
        stack.start()
        with pytest.raises(StackError, match="CDVAE_HOME"):
            Stack(tmp_path, "127.0.0.1", free_port(), None).start()
        # The rejected service has not changed the files of the first.
        assert stack.redis is not None
        with Redis.from_url(stack.redis.url) as client:
            assert client.ping()
    finally:
        stack.stop()


def test_every_command_has_help() -> None:
    answer = CliRunner().invoke(app, ["--help"])
    assert answer.exit_code == 0
    for name in ("serve", "api", "worker", "demo"):
        assert name in answer.output
        assert CliRunner().invoke(app, [name, "--help"]).exit_code == 0
