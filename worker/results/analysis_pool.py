"""What is said of finished crystals, found by processes beside the sampler.

Symmetry, validity, fingerprint and CIF take a third of a small crystal's time, in Python, whose
lock the sampler needs for every operation: in threads of one process they would slow each other
down.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice

from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from cdvae.metrics.crystal_report import describe
from worker.results.analysis import CrystalAnalysis, CrystalProvenance, CrystalSlice, analyze

PART = 16
"""Crystals that a process looks at in one call, some 40 ms."""
MOST = 4
"""Processes, each of 0.15 GB."""
LOOK_SECONDS = 0.2  # s between two looks of a waiting job at its limit, its client


class AnalysisDiedError(Exception):
    """Crystals whose checks end the process that makes them, twice."""


class AnalysisPool:
    """Findings of the crystals of all jobs of a process.

    threads: of torch. With one of them the crystals are looked at by the job itself: a worker
    does not take more of the machine than it was given.
    """

    def __init__(self, threads: int) -> None:
        self._processes = min(threads - 1, MOST)
        self._lock = threading.Lock()
        self._pool = _pool(self._processes) if self._processes else None

    def findings(
        self,
        structures: Sequence[Structure],
        start: int,
        origin: CrystalProvenance,
        on_wait: Callable[[], None],
    ) -> Iterator[CrystalAnalysis]:
        """Of each crystal, in order, as they come; the first has the index ``start`` in its job.

        on_wait: called at least a few times a second; what it raises ends the search.

        Raises:
            AnalysisDiedError: a crystal ends the process that looks at it.
        """
        if self._pool is None:
            for index, structure in enumerate(structures, start):
                on_wait()
                yield from analyze(CrystalSlice.of([structure], index, origin))
            return
        waiting: deque[tuple[CrystalSlice, Future[list[CrystalAnalysis]]]] = deque()
        places = iter(range(0, len(structures), PART))
        # No more at a time than keeps all processes busy: what others ask for comes in between.
        ahead = self._processes + 1
        try:
            while True:
                for i in islice(places, ahead - len(waiting)):
                    part = CrystalSlice.of(structures[i : i + PART], start + i, origin)
                    waiting.append((part, self._submit(part)))
                if not waiting:
                    return
                part, future = waiting[0]
                try:
                    found = _result(future, on_wait)
                except BrokenProcessPool:
                    found = _find_apart(part, on_wait)
                waiting.popleft()
                yield from found
        finally:
            for _, future in waiting:
                future.cancel()

    def _submit(self, part: CrystalSlice) -> Future[list[CrystalAnalysis]]:
        with self._lock:
            assert self._pool is not None
            try:
                return self._pool.submit(analyze, part)
            except BrokenProcessPool:
                self._pool = _pool(self._processes)
                return self._pool.submit(analyze, part)


def _pool(processes: int) -> ProcessPoolExecutor:
    """Processes that begin at once, so that the first job does not wait for them."""
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    pool = ProcessPoolExecutor(processes, context, _begin)
    for _ in range(processes):
        pool.submit(_begun)
    return pool


def _begin() -> None:
    """Get ready, and end with the executor, however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end() -> None:
        parent.join()
        os._exit(0)

    threading.Thread(target=end, name="executor-watch", daemon=True).start()
    describe(Structure(Lattice.cubic(4), ["Cs"], [[0.0, 0.0, 0.0]]))


def _begun() -> None:
    """What a process does first."""


def _result(
    future: Future[list[CrystalAnalysis]], on_wait: Callable[[], None]
) -> list[CrystalAnalysis]:
    on_wait()
    while not wait([future], LOOK_SECONDS).done:
        on_wait()
    return future.result()


def _find_apart(part: CrystalSlice, on_wait: Callable[[], None]) -> list[CrystalAnalysis]:
    """The findings by a process that looks at nothing else: whose crystal it was shows then."""
    pool = _pool(1)
    try:
        return _result(pool.submit(analyze, part), on_wait)
    except BrokenProcessPool as error:
        last = part.start + len(part.crystals) - 1
        text = f"the checks of crystals {part.start} to {last} ended their process twice"
        raise AnalysisDiedError(text) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
