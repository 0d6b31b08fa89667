"""Pin each process of the front end to a share of the CPU cores.

The processes wake up with every request, for a millisecond each. While a worker keeps all cores
busy, the kernel finds no idle core for them and leaves each on its last core: two processes on one
core then wait for each other although the worker, at a lower priority, has another core.
"""

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

_held: list[BinaryIO] = []  # a place is taken as long as its file is open


def _cores() -> tuple[int, ...]:
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()


ALL = _cores()  # the cores that this process was started with; empty if the system hides them


def make_places(folder: Path, processes: int) -> None:
    """Create a place for each of `processes` processes; call this before they start."""
    folder.mkdir()
    for number in range(processes):
        (folder / str(number)).touch()


def keep_to_share(folder: Path) -> None:
    """Take a free place in `folder` and pin this process to its cores (Linux only).

    The place is free again when the process has ended, even if it was killed.
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
    """Return the cores of process `number`; shares overlap only if there are too few cores."""
    return cores[number::processes] or cores[number % max(len(cores), 1) :][:1]


def use(cores: Sequence[int]) -> None:
    """Pin this process to `cores`; do nothing if there are none."""
    if cores:
        os.sched_setaffinity(0, cores)
