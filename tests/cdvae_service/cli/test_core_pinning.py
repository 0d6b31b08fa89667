"""The processes of a front end use different cores, also after one was replaced."""

import multiprocessing
import os
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdvae_service.cli.stack import core_pinning as cores

SPAWN = multiprocessing.get_context("spawn")
_open: list[Connection] = []  # a process ends when its pipe is closed


@given(st.integers(1, 40), st.integers(1, 40))
def test_shares_are_as_apart_as_they_can_be(available: int, processes: int) -> None:
    shares = [cores.share(range(available), number, processes) for number in range(processes)]
    assert all(shares)
    taken = [core for share in shares for core in share]
    assert set(taken) == set(range(available))
    assert len(taken) == max(available, processes)
    often = [taken.count(core) for core in range(available)]
    assert max(often) - min(often) <= 1


def test_where_the_system_tells_no_cores_nothing_is_shared_out() -> None:
    assert not cores.share((), 3, 4)
    before = os.sched_getaffinity(0)
    cores.use(())
    assert os.sched_getaffinity(0) == before


def _serve(folder: Path, pipe: Connection) -> None:
    cores.keep_to_share(folder)
    pipe.send(os.sched_getaffinity(0))
    pipe.recv()


def _start(folder: Path) -> tuple[multiprocessing.process.BaseProcess, set[int]]:
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=_serve, args=(folder, theirs), daemon=True)
    process.start()
    assert ours.poll(60)
    own = ours.recv()
    _open.append(ours)
    return process, own


@pytest.mark.skipif(len(cores.ALL) < 2, reason="there is one core")
def test_the_successor_of_a_killed_process_takes_its_place(tmp_path: Path) -> None:
    cores.make_places(tmp_path / "places", 2)
    first, of_first = _start(tmp_path / "places")
    second, of_second = _start(tmp_path / "places")
    assert not of_first & of_second
    assert of_first | of_second == set(cores.ALL)
    first.kill()
    first.join()
    third, of_third = _start(tmp_path / "places")
    assert of_third == of_first
    for process in (second, third):
        process.kill()
        process.join()
