"""Where and how this process computes."""

from __future__ import annotations

import os

import torch


def available_threads() -> int:
    """Cores that this process may really use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def configure(threads: int | None = None) -> None:
    """Sets the threads of torch (all cores by default) and flushes denormal numbers to zero.

    Denormals make matrix products several times slower on CPU and change no result that matters.
    """
    torch.set_num_threads(threads or available_threads())
    torch.set_flush_denormal(True)


def default_device() -> str:
    """``cuda`` where there is one, else ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"
