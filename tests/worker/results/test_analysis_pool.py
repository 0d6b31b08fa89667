"""Analysis in other processes gives the same results, and leaves nothing behind."""

import os
import subprocess
import sys
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from cdvae.errors import Cancelled
from tests.waiting import HANG_SECONDS
from worker.results.analysis import CrystalAnalysis, CrystalProvenance, CrystalSlice
from worker.results.analysis_pool import PART, AnalysisDiedError, AnalysisPool

ORIGIN = CrystalProvenance("perov-5@1", "ab" * 32, 7, "ancestral")
CRYSTALS = [
    Structure(Lattice.cubic(3.9 + i / 100), ["Sr", "Ti"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    for i in range(2 * PART + 3)
]


def nfe(structures: list[Any]) -> list[int]:
    """Return function evaluations for each crystal."""
    return [25] * len(structures)


def nothing() -> None:
    """Stand for a job that is not cancelled."""


def plain(findings: Iterable[CrystalAnalysis]) -> list[Any]:
    """Return the analyses without arrays, which `==` cannot compare."""
    own = [(one.report, one.cif, one.fingerprint) for one in findings]
    return [(*said, print_ and print_.distances.tolist()) for *said, print_ in own]


@pytest.fixture(scope="module")
def checks() -> AnalysisPool:
    return AnalysisPool(threads=3)


class Deadly:
    """Ends the process that reads it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (3,)


def deadly() -> Any:
    species = [Deadly()]
    return SimpleNamespace(
        lattice=Lattice.cubic(4), atomic_numbers=species, frac_coords=np.zeros((1, 3))
    )


def test_processes_find_what_the_job_itself_finds(checks: AnalysisPool) -> None:
    alone = list(AnalysisPool(threads=1).findings(CRYSTALS, 5, nfe(CRYSTALS), ORIGIN, nothing))
    assert plain(checks.findings(CRYSTALS, 5, nfe(CRYSTALS), ORIGIN, nothing)) == plain(alone)
    assert alone[0].report.spacegroup_symbol == "Pm-3m"
    assert all(f"# index: {i}\n" in one.cif for i, one in enumerate(alone, 5))
    assert all("# sampler: ancestral 25\n" in one.cif for one in alone)


def test_a_large_job_leaves_room_for_what_others_ask_for(
    checks: AnalysisPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    submit = checks._submit

    def noted(part: CrystalSlice) -> Any:
        asked.append(part.start)
        return submit(part)

    monkeypatch.setattr(checks, "_submit", noted)
    findings = checks.findings(CRYSTALS * 10, 0, nfe(CRYSTALS * 10), ORIGIN, nothing)
    next(findings)
    assert asked == [0, PART, 2 * PART]  # two processes, and one part that waits
    assert len(list(findings)) == 10 * len(CRYSTALS) - 1


def test_a_job_that_is_to_end_does_not_wait_for_its_checks(checks: AnalysisPool) -> None:
    calls = []

    def cancelled() -> None:
        calls.append(1)
        raise Cancelled("job")

    many = checks.findings(CRYSTALS * 20, 0, nfe(CRYSTALS * 20), ORIGIN, cancelled)
    with pytest.raises(Cancelled):
        list(many)
    assert calls == [1]
    assert len(list(checks.findings(CRYSTALS, 0, nfe(CRYSTALS), ORIGIN, nothing))) == len(CRYSTALS)


def test_a_crystal_that_ends_its_process_fails_its_own_job_alone(checks: AnalysisPool) -> None:
    bad = checks.findings([deadly()], 40, nfe([deadly()]), ORIGIN, nothing)
    good = checks.findings(CRYSTALS, 0, nfe(CRYSTALS), ORIGIN, nothing)
    first = next(good)  # the analysis of the second job has started
    with pytest.raises(AnalysisDiedError, match="crystals 40 to 40"):
        list(bad)
    alone = AnalysisPool(threads=1).findings(CRYSTALS, 0, nfe(CRYSTALS), ORIGIN, nothing)
    assert plain([first, *good]) == plain(alone)
    assert len(list(checks.findings(CRYSTALS, 0, nfe(CRYSTALS), ORIGIN, nothing))) == len(CRYSTALS)


def test_processes_end_with_their_executor_however_it_ends() -> None:
    module = "worker.results.analysis_pool"
    code = f"from {module} import AnalysisPool; AnalysisPool(3); print('up', flush=True); input()"
    words = [sys.executable, "-c", code]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as executor:
        assert executor.stdout is not None
        assert executor.stdout.readline() == b"up\n"
        children = psutil.Process(executor.pid).children()
        assert len(children) >= 2
        executor.kill()
        executor.wait()
        _, alive = psutil.wait_procs(children, timeout=HANG_SECONDS)
        assert not alive, [one.cmdline() for one in alive]
