"""Where results lie: one directory for each job, shared by the front end and the workers.

    CDVAE_HOME/results/<job id>/chunk-00000.json    list of CrystalRecord objects
                                chunk-00001.json    …
                                result.json         ResultSummary; written last

Every file appears whole: it is written under another name and renamed. Within a job the records'
`index` is unique; chunks hold ascending indices, and chunk numbers ascend with them.
"""

import os
import re
from pathlib import Path

SUMMARY = "result.json"
_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CHUNK = re.compile(r"chunk-\d{5,}\.json")


def results_root(home: Path) -> Path:
    """The directory that holds all results."""
    return home / "results"


def job_directory(home: Path, job_id: str) -> Path:
    """The directory of one job's results; ValueError for an id that could leave it."""
    if not _JOB_ID.fullmatch(job_id):
        raise ValueError(f"{job_id!r} is no job id")
    return results_root(home) / job_id


def chunk_path(directory: Path, number: int) -> Path:
    """The file of chunk `number`, counted from 0."""
    return directory / f"chunk-{number:05d}.json"


def chunk_paths(directory: Path) -> list[Path]:
    """The chunks that are there, in order; empty where the directory is missing."""
    if not directory.is_dir():
        return []
    found = [path for path in directory.iterdir() if _CHUNK.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.stem.removeprefix("chunk-")))


def write_whole(path: Path, text: str) -> None:
    """Writes `text` so that a reader sees all of it or the file that was there before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    with unfinished.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
