"""Where and how this process computes."""

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
    """Cores that this process may really use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_threads = 0  # what `configure` was told; 0 before


def configure(number: int | None = None) -> None:
    """Set the threads of torch (all cores by default), rounding and memory for fast networks.

    Denormal numbers make matrix products several times slower on CPU and change no result that
    matters; they are flushed to zero. glibc gives the large temporaries of every layer back to the
    system and faults their pages in again, which more than doubles the time of sampling; it is told
    to keep them. Each of its arenas keeps the peak of the threads that used it, so there are as
    many as computing threads (at least two) instead of eight per core. Call this function once,
    before the first computation.
    """
    global _threads
    _threads = number or available_threads()
    torch.set_num_threads(_threads)
    torch.set_flush_denormal(True)
    with contextlib.suppress(AttributeError, OSError):  # another C library: nothing to tell
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
        libc.mallopt(_M_ARENA_MAX, max(_threads, 2))


def threads() -> int:
    """How many threads `spread` uses."""
    return _threads or torch.get_num_threads()


def default_device() -> str:
    """``cuda`` where there is one, else ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def parallel_map(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """``function`` of each item in their order, over all threads, each operation on one.

    Operations on a few hundred atoms are too short to be divided among threads; independent ones
    are not. An operation on one thread also gives the same bits whatever the number of threads.
    Gradients are off, as everything else that belongs to a thread is at its default.
    """
    if not items:
        return []
    with ThreadPoolExecutor(min(threads(), len(items)), "compute", _compute_alone) as pool:
        return list(pool.map(torch.no_grad()(function), items))


def _compute_alone() -> None:
    # Both belong to the thread; the number is also what threads to come begin with.
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
