"""What can be said of a finished crystal alone, and where it comes from."""

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
    """What every crystal of a job has in common, for the provenance in its CIF."""

    model: str  # name@version
    weights_sha256: str
    seed: int
    sampler: str  # name and steps

    def of(self, index: int) -> dict[str, str | int]:
        """The provenance of crystal `index`."""
        return {
            "generator": "cdvae",
            "model": self.model,
            "weights_sha256": self.weights_sha256,
            "seed": self.seed,
            "index": index,
            "sampler": self.sampler,
        }


@dataclass(frozen=True)
class CrystalAnalysis:
    """What can be said of a crystal alone."""

    report: CrystalReport
    fingerprint: Fingerprint | None  # None where the atoms are not separated
    cif: str


@dataclass(frozen=True)
class CrystalSlice:
    """Some crystals of a job, as little as says it all: pickling a structure takes longer."""

    start: int  # index of the first
    crystals: Sequence[tuple[np.ndarray, list[Any], np.ndarray]]  # cell, Z, fractional
    origin: CrystalProvenance

    @staticmethod
    def of(structures: Sequence[Structure], start: int, origin: CrystalProvenance) -> CrystalSlice:
        """The part of these crystals, whose indices begin at ``start``."""
        crystals = [
            (one.lattice.matrix, list(one.atomic_numbers), one.frac_coords) for one in structures
        ]
        return CrystalSlice(start, crystals, origin)


def analyze(part: CrystalSlice) -> list[CrystalAnalysis]:
    """The findings of a part's crystals."""
    findings = []
    for index, (cell, atomic_numbers, sites) in enumerate(part.crystals, part.start):
        structure = Structure(Lattice(cell), atomic_numbers, sites)
        cif = write_cif(structure, part.origin.of(index))
        findings.append(CrystalAnalysis(describe(structure), identify(structure), cif))
    return findings
