"""Where and how this process computes."""

from __future__ import annotations

import contextlib
import ctypes
import os

import torch

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def available_threads() -> int:
    """Cores that this process may really use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def configure(threads: int | None = None) -> None:
    """Sets the threads of torch (all cores by default), rounding and memory for fast networks.

    Denormal numbers make matrix products several times slower on CPU and change no result that
    matters; they are flushed to zero. glibc gives the large temporaries of every layer back to the
    system and faults their pages in again, which more than doubles the time of sampling; it is told
    to keep them. Call it once, before the first computation.
    """
    torch.set_num_threads(threads or available_threads())
    torch.set_flush_denormal(True)
    with contextlib.suppress(AttributeError, OSError):  # another C library: nothing to tell
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def default_device() -> str:
    """``cuda`` where there is one, else ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"
