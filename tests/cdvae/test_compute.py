"""The settings of a process that computes."""

import platform
import subprocess
import sys

import pytest

from tests.waiting import HANG_SECONDS

# Prints the number of malloc's arenas after 12 threads have allocated at the same time.
PROGRAM = """
import ctypes, re, sys, tempfile, threading
from cdvae.compute import configure
configure(2)
together = threading.Barrier(12)
def allocate():
    together.wait()
    block = bytearray(100_000)
    together.wait()
threads = [threading.Thread(target=allocate) for _ in range(12)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
with tempfile.NamedTemporaryFile("r") as file:
    stream = ctypes.c_void_p(libc.fopen(file.name.encode(), b"w"))
    libc.malloc_info(0, stream)
    libc.fclose(stream)
    print(file.read().count("<heap nr="))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another malloc than glibc's")
def test_many_threads_share_few_arenas() -> None:
    """Each arena keeps the peak of its threads, and a worker starts a thread for each job."""
    call = [sys.executable, "-c", PROGRAM]
    ended = subprocess.run(call, capture_output=True, text=True, check=True, timeout=HANG_SECONDS)
    assert int(ended.stdout) <= 2
