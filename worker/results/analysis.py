"""Analysis of single crystals: report, fingerprint, and CIF with provenance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from cdvae.data.cif_writer import write_cif
from cdvae.metrics.crystal_report import CrystalReport, describe
from cdvae.metrics.fingerprint import Fingerprint, identify

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class CrystalProvenance:
    """The provenance in the CIF of every crystal of a job."""

    model: str  # name@version
    weights_sha256: str
    seed: int
    sampler: str  # its name

    def of(self, index: int, nfe: int) -> dict[str, str | int]:
        """Return the provenance of crystal `index`, which took `nfe` function evaluations."""
        return {
            "generator": "cdvae",
            "model": self.model,
            "weights_sha256": self.weights_sha256,
            "seed": self.seed,
            "index": index,
            "sampler": f"{self.sampler} {nfe}",
        }


@dataclass(frozen=True)
class CrystalAnalysis:
    """The analysis of one crystal."""

    report: CrystalReport
    fingerprint: Fingerprint | None  # None where the atoms are not separated
    cif: str


@dataclass(frozen=True)
class CrystalSlice:
    """Consecutive crystals of a job as plain arrays: pickling a `Structure` takes longer."""

    start: int  # index of the first
    crystals: Sequence[tuple[np.ndarray, list[Any], np.ndarray]]  # cell, Z, fractional
    nfe: Sequence[int]  # of each crystal
    origin: CrystalProvenance

    @staticmethod
    def of(
        structures: Sequence[Structure], start: int, nfe: Sequence[int], origin: CrystalProvenance
    ) -> CrystalSlice:
        """Return the slice of these crystals, whose indices begin at ``start``."""
        crystals = [
            (one.lattice.matrix, list(one.atomic_numbers), one.frac_coords) for one in structures
        ]
        return CrystalSlice(start, crystals, nfe, origin)


def analyze(part: CrystalSlice) -> list[CrystalAnalysis]:
    """Return the analyses of the crystals."""
    analyses = []
    numbered = enumerate(zip(part.crystals, part.nfe, strict=True), part.start)
    for index, ((cell, atomic_numbers, sites), nfe) in numbered:
        structure = Structure(Lattice(cell), atomic_numbers, sites)
        cif = write_cif(structure, part.origin.of(index, nfe))
        analyses.append(CrystalAnalysis(describe(structure), identify(structure), cif))
    return analyses
