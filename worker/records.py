"""From decoded tensors to the records that a client reads, and the files they are kept in."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pymatgen.core.structure import Structure

from cdvae.data.cif import write_cif
from cdvae.metrics.report import CrystalReport, lattice_fields
from schema.crystals import CellParameters, CrystalRecord, SpaceGroup, Validity
from schema.outcomes import ResultSummary
from schema.results import SUMMARY, chunk_path, job_directory, write_whole


@dataclass(frozen=True)
class Origin:
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


def make_record(
    index: int,
    structure: Structure,
    report: CrystalReport,
    predicted: Mapping[str, float],
    novel: bool | None,
    origin: Origin,
) -> CrystalRecord:
    """The record of crystal `index`; equal crystals are found later, by `mark_duplicates`."""
    return CrystalRecord(
        index=index,
        formula=report.formula,
        reduced_formula=report.reduced_formula,
        num_atoms=report.num_atoms,
        cif=write_cif(structure, origin.of(index)),
        # The report leaves out a cell that is next to nothing; it is still the one decoded.
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
    """Whether the crystal passes both checks."""
    return record.valid.structure and record.valid.composition


class ResultFolder:
    """The files of one job's result; whatever an earlier attempt at the job left is removed."""

    def __init__(self, home: Path, job_id: str) -> None:
        self.folder = job_directory(home, job_id)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.chunks: list[list[CrystalRecord]] = []

    def records(self) -> list[CrystalRecord]:
        """All records so far, by index."""
        return [record for chunk in self.chunks for record in chunk]

    def add(self, records: Sequence[CrystalRecord]) -> None:
        """Store one more chunk."""
        self.chunks.append(list(records))
        self._write(len(self.chunks) - 1)

    def mark_duplicates(self, duplicate_of: Sequence[int | None]) -> None:
        """Set `duplicate_of` of all records, in their order, and store the chunks that changed."""
        earlier = iter(duplicate_of)
        for number, chunk in enumerate(self.chunks):
            marks = [next(earlier) for _ in chunk]
            if any(mark is not None for mark in marks):
                self.chunks[number] = [
                    record.model_copy(update={"duplicate_of": mark})
                    for record, mark in zip(chunk, marks, strict=True)
                ]
                self._write(number)

    def finish(self, summary: ResultSummary) -> None:
        """Store the summary: nothing more will come."""
        write_whole(self.folder / SUMMARY, summary.model_dump_json())

    def _write(self, number: int) -> None:
        chunk = [record.model_dump(mode="json") for record in self.chunks[number]]
        write_whole(chunk_path(self.folder, number), json.dumps(chunk, allow_nan=False))
