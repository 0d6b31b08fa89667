"""The input crystals of a job as stored in the queue: symmetry expanded, cells in Å."""

from app.queue.job_queue import JobQueue
from cdvae_schema.crystal_records import CrystalInput


async def given_structures(queue: JobQueue, job_id: str) -> list[CrystalInput]:
    """Return the input crystals in the order of `request.structures`; raises JobNotFoundError."""
    return (await queue.stored_spec(job_id)).structures
