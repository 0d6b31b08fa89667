"""Layout of the results: one folder per job, shared by the front end and the workers.

    <results>/<job id>/chunk-00000.json    list of CrystalRecord objects
                       chunk-00001.json    …
                       result.json         ResultSummary; written last

Writes are atomic. The `index` of the records is unique within a job and ascends within and across
chunks. Until the job ends, `resume-00000.json`, … hold the data with which another worker can
continue the job.
"""

import re

SUMMARY = "result.json"
_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CHUNK = re.compile(r"chunk-(\d{5,})\.json")


def checked_job_id(job_id: str) -> str:
    """Return the id if it is a safe folder name; raises ValueError."""
    if not _JOB_ID.fullmatch(job_id):
        raise ValueError(f"{job_id!r} is not a job id")
    return job_id


def chunk_name(number: int) -> str:
    """Return the file name of chunk `number`, counted from 0."""
    return f"chunk-{number:05d}.json"


def resume_name(number: int) -> str:
    """Return the name of the file with the resume data of chunk `number`."""
    return f"resume-{number:05d}.json"


def chunk_names(names: list[str]) -> list[str]:
    """Return the names that are chunks, in order."""
    matches = filter(None, map(_CHUNK.fullmatch, names))
    return [match.string for match in sorted(matches, key=lambda match: int(match.group(1)))]
