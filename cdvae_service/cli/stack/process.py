"""Child processes that end with the command that started them."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys

PR_SET_PDEATHSIG = 1

_LIBC = ctypes.CDLL(None) if sys.platform.startswith("linux") else None


def die_with_parent() -> None:
    """Ask the kernel to end this process when its parent dies (Linux only).

    As `preexec_fn` it covers a parent that is killed and cannot stop its children.
    """
    if _LIBC is not None:
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def stop(process: subprocess.Popen[bytes], grace: float) -> int:
    """Return the exit status of `process` after SIGTERM and, `grace` seconds later, SIGKILL.

    SIGKILL goes to its process group, so `process` must lead one.
    """
    if process.poll() is None:
        process.terminate()
        try:
            return process.wait(grace)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
    return process.wait()
