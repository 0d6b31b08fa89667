"""Threads, device and memory of this process."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h


def available_threads() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_threads = 0  # set by `configure`; 0: not yet called


def configure(number: int | None = None) -> None:
    """Set up torch and the memory allocator for fast networks; call it once, before any network.

    Torch uses ``number`` threads, by default all cores. Denormal numbers are flushed to zero: they
    slow matrix products down several times on CPUs and change no result that matters. glibc keeps
    freed memory: by default it returns the large temporaries of every layer to the system, which
    more than doubles the time of sampling. Each of its arenas keeps the peak of the threads that
    used it, so there are as many arenas as computing threads, at least two, instead of eight per
    core.
    """
    global _threads
    _threads = number or available_threads()
    torch.set_num_threads(_threads)
    torch.set_flush_denormal(True)
    with contextlib.suppress(AttributeError, OSError):  # not glibc
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
        libc.mallopt(_M_ARENA_MAX, max(_threads, 2))


def threads() -> int:
    """Return the number of threads that :func:`parallel_map` uses."""
    return _threads or torch.get_num_threads()


def default_device() -> str:
    """Return ``cuda`` if there is a GPU, else ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def parallel_map(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Return ``function`` of each item, in order; the items are divided among all threads.

    Operations on a few hundred atoms are too short to divide among threads, so each item runs on a
    single thread. Its bits therefore do not depend on the number of threads. Gradients are off.
    """
    if not items:
        return []
    with ThreadPoolExecutor(min(threads(), len(items)), "compute", _compute_alone) as pool:
        return list(pool.map(torch.no_grad()(function), items))


def _compute_alone() -> None:
    # Both settings belong to the thread; new threads inherit the number.
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
