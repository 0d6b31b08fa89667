"""A pool of processes that analyzes finished crystals.

Symmetry, validity, fingerprint and CIF take a third of a small crystal's time. They are Python code
that holds the GIL, which the sampler needs for every operation, so threads would slow it down.
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
"""Crystals in one call of a process; the call takes about 40 ms."""
MOST = 4
"""Processes at most; each needs 0.15 GB."""
POLL_INTERVAL = 0.2  # s between two calls of `on_wait`


class AnalysisDiedError(Exception):
    """The analysis of some crystals ended its process twice."""


class AnalysisPool:
    """Analyzes the crystals of all jobs of an executor.

    threads: the number of torch threads. With one thread the job analyzes its crystals itself, so
    that a worker uses no more of the machine than it was given.
    """

    def __init__(self, threads: int) -> None:
        self._processes = min(threads - 1, MOST)
        self._lock = threading.Lock()
        self._pool = _pool(self._processes) if self._processes else None

    def findings(
        self,
        structures: Sequence[Structure],
        start: int,
        nfe: Sequence[int],
        origin: CrystalProvenance,
        on_wait: Callable[[], None],
    ) -> Iterator[CrystalAnalysis]:
        """Yield the analysis of each crystal in order; the first has index ``start`` in its job.

        nfe: function evaluations of each crystal. on_wait: called a few times a second; an
        exception from it ends the analysis.

        Raises:
            AnalysisDiedError: a crystal ends the process that analyzes it.
        """
        if self._pool is None:
            for row, structure in enumerate(structures):
                on_wait()
                yield from analyze(CrystalSlice.of([structure], start + row, [nfe[row]], origin))
            return
        waiting: deque[tuple[CrystalSlice, Future[list[CrystalAnalysis]]]] = deque()
        places = iter(range(0, len(structures), PART))
        # Only as many as keep all processes busy, so that other jobs get their turn in between.
        ahead = self._processes + 1
        try:
            while True:
                for i in islice(places, ahead - len(waiting)):
                    part = CrystalSlice.of(
                        structures[i : i + PART], start + i, nfe[i : i + PART], origin
                    )
                    waiting.append((part, self._submit(part)))
                if not waiting:
                    return
                part, future = waiting[0]
                try:
                    found = _result(future, on_wait)
                except BrokenProcessPool:
                    found = _analyze_apart(part, on_wait)
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
    """Return a pool whose processes start at once, so that the first job does not wait."""
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    pool = ProcessPoolExecutor(processes, context, _begin)
    for _ in range(processes):
        pool.submit(_begun)
    return pool


def _begin() -> None:
    """Prepare the process, and end it when the executor ends for any reason."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end() -> None:
        parent.join()
        os._exit(0)

    threading.Thread(target=end, name="executor-watch", daemon=True).start()
    describe(Structure(Lattice.cubic(4), ["Cs"], [[0.0, 0.0, 0.0]]))


def _begun() -> None:
    """Do nothing: submitting this starts a process."""


def _result(
    future: Future[list[CrystalAnalysis]], on_wait: Callable[[], None]
) -> list[CrystalAnalysis]:
    on_wait()
    while not wait([future], POLL_INTERVAL).done:
        on_wait()
    return future.result()


def _analyze_apart(part: CrystalSlice, on_wait: Callable[[], None]) -> list[CrystalAnalysis]:
    """Analyze the crystals in a separate process, so that its end is their fault."""
    pool = _pool(1)
    try:
        return _result(pool.submit(analyze, part), on_wait)
    except BrokenProcessPool as error:
        last = part.start + len(part.crystals) - 1
        text = f"the analysis of crystals {part.start} to {last} ended its process twice"
        raise AnalysisDiedError(text) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
