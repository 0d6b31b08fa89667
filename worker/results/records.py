"""Records of decoded crystals, as clients read them."""

from __future__ import annotations

from collections.abc import Mapping

from pymatgen.core.structure import Structure

from cdvae.metrics.crystal_report import CrystalReport, lattice_fields
from cdvae_schema.crystal_records import CellParameters, CrystalRecord, SpaceGroup, Validity
from worker.results.analysis import CrystalAnalysis


def make_record(
    index: int,
    structure: Structure,
    finding: CrystalAnalysis,
    predicted: Mapping[str, float],
    novel: bool | None,
) -> CrystalRecord:
    """Return the record of crystal `index`; `mark_duplicates` adds the duplicates later."""
    report = finding.report
    return CrystalRecord(
        index=index,
        formula=report.formula,
        reduced_formula=report.reduced_formula,
        num_atoms=report.num_atoms,
        cif=finding.cif,
        # The report omits a cell of almost no volume; it is still the decoded one.
        lattice=CellParameters.model_validate(lattice_fields(structure)),
        volume=float(structure.volume),
        density=report.density,
        spacegroup=_space_group(report),
        min_distance=report.min_distance,
        valid=Validity(structure=report.structure_valid, composition=report.composition_valid),
        predicted=dict(predicted),
        novel=novel,
        duplicate_of=None,
    )


def _space_group(report: CrystalReport) -> SpaceGroup | None:
    if report.spacegroup_number is None or report.spacegroup_symbol is None:
        return None
    return SpaceGroup(number=report.spacegroup_number, symbol=report.spacegroup_symbol)


def is_valid(record: CrystalRecord) -> bool:
    """Return whether the crystal passes both checks."""
    return record.valid.structure and record.valid.composition
