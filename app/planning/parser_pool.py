"""Reading what clients send in processes of its own: with limits that hold, beside the event loop.

A thread cannot be stopped, and the C++ and Rust parsers keep the interpreter's lock, so a body of
megabytes would hold up every other request. A process can be killed, and has a limit of memory.
"""

import asyncio
import atexit
import multiprocessing
import os
import resource
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from pebble import ProcessExpired, ProcessPool

from app.http.problems import ApiError

T = TypeVar("T")

MEMORY_BYTES = 2 * 1024**3
# Taken before the launcher pins this process to its share: parsers may use every core.
_CORES = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
JOBS_EACH = 1000  # a process is replaced after so many bodies, whatever it may have leaked


class ParserPool:
    """Up to `processes` bodies are read at once, each within `seconds`.

    The processes start with the first body.
    """

    def __init__(self, processes: int, seconds: float) -> None:
        self._processes, self._seconds = processes, seconds

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """What `function` returns or the ApiError that it raises; 413 or 422 at the limits."""
        pool = _pool(self._processes)
        future = pool.schedule(function, args=args, timeout=self._seconds)
        try:
            result: T = await asyncio.wrap_future(future)
        except TimeoutError:
            detail = f"The body could not be read within {self._seconds:g} s."
            raise ApiError(422, detail) from None
        except (MemoryError, ProcessExpired):
            raise ApiError(413, "Reading the body takes too much memory.") from None
        return result


@cache
def _pool(processes: int) -> ProcessPool:
    """The processes, shared by all applications of this one."""
    pool = ProcessPool(
        max_workers=processes,
        max_tasks=JOBS_EACH,
        initializer=_prepare,
        initargs=(_CORES,),
        context=multiprocessing.get_context("spawn"),  # a fork would copy our threads' locks
    )
    atexit.register(_end, pool)
    return pool


def _prepare(cores: set[int]) -> None:
    if cores:
        os.sched_setaffinity(0, cores)
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, most))


def _end(pool: ProcessPool) -> None:
    pool.stop()  # type: ignore[no-untyped-call]
    pool.join()
