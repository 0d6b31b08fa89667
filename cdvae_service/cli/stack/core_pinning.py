"""The processes of one front end share the cores out among themselves.

They wake with every request, each for a millisecond. Where an executor keeps all cores busy the
kernel finds none idle for them and leaves each where it was last: two of them on one core wait for
each other while the executor, though nicer, has the other core to itself.
"""

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

_held: list[BinaryIO] = []  # a place is taken as long as its file is open


def _cores() -> tuple[int, ...]:
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()


ALL = _cores()  # that this process was started with; none where the system does not tell


def make_places(folder: Path, processes: int) -> None:
    """One place for each of so many processes; call it before they start."""
    folder.mkdir()
    for number in range(processes):
        (folder / str(number)).touch()


def keep_to_share(folder: Path) -> None:
    """Take a free place in `folder` and stay on its cores (Linux; elsewhere nothing happens).

    The place is free again when the process has ended, however it did.
    """
    places = sorted(folder.iterdir())
    for number, place in enumerate(places):
        file = place.open("rb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            continue
        _held.append(file)
        use(share(ALL, number, len(places)))
        return


def share(cores: Sequence[int], number: int, processes: int) -> Sequence[int]:
    """Those of `cores` for process `number`: some of its own, as long as there are enough."""
    return cores[number::processes] or cores[number % max(len(cores), 1) :][:1]


def use(cores: Sequence[int]) -> None:
    """Stay on `cores` from now on; where there are none nothing changes."""
    if cores:
        os.sched_setaffinity(0, cores)
