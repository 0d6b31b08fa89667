"""The crystals that a job was given, as they lie on the queue: symmetry expanded, cells in Å."""

import zlib
from typing import Any

from rq.job import Job
from rq.serializers import JSONSerializer

from app.queue.job_queue import JobNotFoundError, JobQueue
from cdvae_schema.crystal_records import CrystalInput
from cdvae_schema.job_specs import JobSpec


async def given_structures(queue: JobQueue, job_id: str) -> list[CrystalInput]:
    """In the order of the job's `request.structures`; JobNotFoundError once it has expired."""
    data: Any = await queue.redis.hget(Job.key_for(job_id), "data")
    if data is None:
        raise JobNotFoundError(f"no job {job_id!r}; finished jobs are kept for a time")
    call = JSONSerializer.loads(zlib.decompress(data))  # type: ignore[no-untyped-call]
    _, _, (spec,), _ = call  # function, instance, arguments, keywords: as RQ writes them
    return JobSpec.model_validate(spec).structures
