"""The files of one job's result; an earlier attempt may have stored some of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from cdvae_schema.crystal_records import AnyRecord, CrystalRecord
from cdvae_schema.job_results import SUMMARY, chunk_name, resume_name
from cdvae_schema.outcomes import ResultSummary
from cdvae_service.results.result_store import ResultStore

_RECORDS: TypeAdapter[list[AnyRecord]] = TypeAdapter(list[AnyRecord])


@dataclass
class Chunk:
    """Crystals that were decoded together.

    structures: as decoded; the CIF of a record has fewer digits. nfe: function evaluations of each.
    """

    records: list[CrystalRecord]
    structures: list[Structure]
    nfe: list[int]

    @property
    def crystals(self) -> range:
        """The indices of the crystals."""
        return range(self.records[0].index, self.records[-1].index + 1)

    def resume_text(self) -> str:
        """Return the data that the records lack, as JSON, which keeps every bit of a float."""
        structures = [
            {
                "lattice": one.lattice.matrix.tolist(),
                "atomic_numbers": list(one.atomic_numbers),
                "frac_coords": one.frac_coords.tolist(),
            }
            for one in self.structures
        ]
        return json.dumps({"nfe": self.nfe, "structures": structures})

    def records_text(self) -> str:
        """Return the records as JSON."""
        return json.dumps([one.model_dump(mode="json") for one in self.records], allow_nan=False)


@dataclass
class ResultWriter:
    """The result of a job. chunks: those of an earlier attempt, then those of this one."""

    store: ResultStore
    job_id: str
    chunks: list[Chunk] = field(default_factory=list)

    def __post_init__(self) -> None:
        names = set(self.store.names(self.job_id))
        while {chunk_name(len(self.chunks)), resume_name(len(self.chunks))} <= names:
            self.chunks.append(self._read(len(self.chunks)))

    def summary(self) -> ResultSummary | None:
        """Return the summary that an earlier attempt stored; None without one."""
        try:
            return ResultSummary.model_validate_json(self.store.read(self.job_id, SUMMARY))
        except FileNotFoundError:
            return None

    def records(self) -> list[CrystalRecord]:
        """Return all records so far, by index."""
        return [record for chunk in self.chunks for record in chunk.records]

    def structures(self) -> list[Structure]:
        """Return all structures so far, by index."""
        return [structure for chunk in self.chunks for structure in chunk.structures]

    def add(self, chunk: Chunk) -> None:
        """Store one more chunk. Its records come last and mark it as complete."""
        number = len(self.chunks)
        self.store.write(self.job_id, resume_name(number), chunk.resume_text())
        self.store.write(self.job_id, chunk_name(number), chunk.records_text())
        self.chunks.append(chunk)

    def mark_duplicates(self, duplicate_of: Sequence[int | None]) -> None:
        """Set `duplicate_of` of all records, in their order.

        A duplicate is as novel as the crystal that it repeats: their fingerprints differ slightly,
        so the comparison with the training data could give two answers.
        """
        records = self.records()
        updates = [
            {} if first is None else {"duplicate_of": first, "novel": records[first].novel}
            for first in duplicate_of
        ]
        self.replace(
            [one.model_copy(update=update) for one, update in zip(records, updates, strict=True)]
        )

    def replace(self, records: Sequence[CrystalRecord]) -> None:
        """Replace all records, in their order, and store the chunks that changed."""
        following = iter(records)
        for number, chunk in enumerate(self.chunks):
            changed = [next(following) for _ in chunk.records]
            if changed != chunk.records:
                chunk.records = changed
                self.store.write(self.job_id, chunk_name(number), chunk.records_text())

    def finish(self, summary: ResultSummary) -> None:
        """Store the summary and delete the files that a further attempt would need."""
        self.store.write(self.job_id, SUMMARY, summary.model_dump_json())
        self.store.delete(self.job_id, [resume_name(number) for number in range(len(self.chunks))])

    def _read(self, number: int) -> Chunk:
        records = _RECORDS.validate_json(self.store.read(self.job_id, chunk_name(number)))
        kept: dict[str, Any] = json.loads(self.store.read(self.job_id, resume_name(number)))
        structures = [
            Structure(Lattice(one["lattice"]), one["atomic_numbers"], one["frac_coords"])
            for one in kept["structures"]
        ]
        return Chunk(list(records), structures, kept["nfe"])
