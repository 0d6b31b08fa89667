"""Where results lie: one folder for each job, shared by the front end and the workers.

    <results>/<job id>/chunk-00000.json    list of CrystalRecord objects
                       chunk-00001.json    …
                       result.json         ResultSummary; written last

Every file appears whole. Within a job the records' `index` is unique; chunks hold ascending
indices, and chunk numbers ascend with them. What a worker needs to go on with a job that another
began lies beside the chunks (`resume-00000.json`, …) until the job has ended.
"""

import re

SUMMARY = "result.json"
_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CHUNK = re.compile(r"chunk-(\d{5,})\.json")


def checked_job_id(job_id: str) -> str:
    """The id, as the name of a folder; ValueError for one that could leave it."""
    if not _JOB_ID.fullmatch(job_id):
        raise ValueError(f"{job_id!r} is no job id")
    return job_id


def chunk_name(number: int) -> str:
    """The file of chunk `number`, counted from 0."""
    return f"chunk-{number:05d}.json"


def resume_name(number: int) -> str:
    """The file beside chunk `number` with what its records do not say."""
    return f"resume-{number:05d}.json"


def chunk_names(names: list[str]) -> list[str]:
    """Those of a folder's files that are chunks, in order."""
    matches = filter(None, map(_CHUNK.fullmatch, names))
    return [match.string for match in sorted(matches, key=lambda match: int(match.group(1)))]
