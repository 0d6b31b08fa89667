"""Write finished results in the formats of `FORMS`."""

import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile

from app.results.formats import Record, compact, poscar, pymatgen_dict, xyz
from cdvae_schema.job_results import SUMMARY, chunk_names
from cdvae_schema.job_specs import JobStatus
from cdvae_schema.outcomes import ResultSummary
from cdvae_service.results.result_store import ResultStore

FORMS = {
    "json": "application/json",
    "cif": "chemical/x-cif",
    "ndjson": "application/x-ndjson",
    "zip": "application/zip",
    "xyz": "chemical/x-xyz",
    "pymatgen": "application/vnd.pymatgen+json",
}
CRYSTAL_FORMS = {
    **{name: FORMS[name] for name in ("json", "cif", "xyz", "pymatgen")},
    "poscar": "chemical/x-poscar",
}

SPOOL_BYTES = 8 * 1024 * 1024
READ_BYTES = 256 * 1024
_BLOCK = re.compile(r"^data_\S*", re.MULTILINE)
_UNSAFE = re.compile(r"[^A-Za-z0-9.]+")


@dataclass(frozen=True)
class StoredResult:
    """The stored result of a job: chunks of records, and a summary unless it was stopped early."""

    store: ResultStore
    job_id: str
    summary: ResultSummary | None
    chunks: list[str]

    def batches(self) -> Iterator[list[Record]]:
        """Yield the records in the order of the result, chunk by chunk where possible."""
        if self.summary is None or self.summary.order is None:
            yield from map(self.records, self.chunks)
            return
        known = {record["index"]: record for name in self.chunks for record in self.records(name)}
        yield [known[index] for index in self.summary.order]

    def crystal(self, index: int) -> Record | None:
        """Return the record of one crystal, None where there is none."""
        for name in self.chunks:
            for record in self.records(name):
                if record["index"] == index:
                    return record
        return None

    def records(self, name: str) -> list[Record]:
        """Return the records of one chunk."""
        found: list[Record] = json.loads(self.store.read(self.job_id, name))
        return found


def stored_result(store: ResultStore, job_id: str) -> StoredResult:
    """Return the stored files of the job; there may be none."""
    try:
        text = store.read(job_id, SUMMARY)
    except FileNotFoundError:
        summary = None
    else:
        summary = ResultSummary.model_validate_json(text)
    return StoredResult(store, job_id, summary, chunk_names(store.names(job_id)))


def as_json(status: JobStatus, result: StoredResult) -> Iterator[str]:
    """Yield the `JobResult` object in pieces."""
    yield f'{{"job":{status.model_dump_json()},"crystals":['
    comma = ""
    for batch in result.batches():
        if batch:
            yield comma + ",".join(compact(record) for record in batch)
            comma = ","
    summary = result.summary
    metrics = compact(summary.metrics) if summary else "null"
    provenance = summary.provenance.model_dump_json() if summary else "null"
    yield f'],"metrics":{metrics},"provenance":{provenance}}}'


def as_ndjson(result: StoredResult) -> Iterator[str]:
    """Yield one JSON record per line."""
    for batch in result.batches():
        yield "".join(compact(record) + "\n" for record in batch)


def as_cif(result: StoredResult) -> Iterator[str]:
    """Yield all crystals in one CIF."""
    for batch in result.batches():
        yield "".join(crystal_cif(record) for record in batch)


def as_xyz(result: StoredResult) -> Iterator[str]:
    """Yield one frame of extended XYZ per crystal."""
    for batch in result.batches():
        yield "".join(map(xyz, batch))


def as_pymatgen(result: StoredResult) -> Iterator[str]:
    """Yield a JSON list of pymatgen's dictionaries."""
    before = "["
    for batch in result.batches():
        for record in batch:
            yield before + compact(pymatgen_dict(record))
            before = ","
    yield "]" if before == "," else "[]"


def crystal_in(form: str, record: Record) -> str:
    """Return one crystal in one of `CRYSTAL_FORMS`."""
    if form == "cif":
        return crystal_cif(record)
    if form == "xyz":
        return xyz(record)
    if form == "poscar":
        return poscar(record)
    return compact(pymatgen_dict(record) if form == "pymatgen" else record)


def crystal_cif(record: Record) -> str:
    """Return the CIF of a crystal with a block name that is unique in its job."""
    text: str = record["cif"]
    named = _BLOCK.sub(f"data_{_name(record)}", text, count=1)
    return named.rstrip("\n") + "\n\n"


def as_zip(status: JobStatus, result: StoredResult) -> Iterator[bytes]:
    """Yield a zip archive with a CIF and a POSCAR for each crystal and `summary.json`."""
    with SpooledTemporaryFile(max_size=SPOOL_BYTES) as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            crystals: list[Record] = []
            for batch in result.batches():
                for record in batch:
                    name = f"{_name(record)}.cif"
                    _add(archive, status, name, crystal_cif(record))
                    # ASE and pymatgen recognize the format by this name.
                    _add(archive, status, f"{_name(record)}.POSCAR", poscar(record))
                    bare = {key: value for key, value in record.items() if key != "cif"}
                    crystals.append({**bare, "file": name})
            summary = result.summary
            content = {
                "job": status.model_dump(mode="json"),
                "crystals": crystals,
                "metrics": summary.metrics if summary else None,
                "provenance": summary.provenance.model_dump(mode="json") if summary else None,
            }
            _add(archive, status, "summary.json", json.dumps(content, indent=1) + "\n")
        file.seek(0)
        while piece := file.read(READ_BYTES):
            yield piece


def _add(archive: zipfile.ZipFile, status: JobStatus, name: str, text: str) -> None:
    """Add a file with the end of the job as its date, so that repeated downloads are identical."""
    moment = status.finished_at or status.created_at
    entry = zipfile.ZipInfo(name, moment.timetuple()[:6])
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, text)


def _name(record: Record) -> str:
    formula = _UNSAFE.sub("", str(record["reduced_formula"])) or "crystal"
    return f"{record['index']:05d}-{formula}"
