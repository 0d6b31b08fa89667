"""Keep the crystals of finished jobs in memory for OPTIMADE queries, one collection per owner."""

from collections import OrderedDict
from typing import Any, Protocol

from anyio.to_thread import run_sync

from app.dependencies import Services
from app.optimade.optimade_entries import entry
from app.results.result_export import stored_result
from cdvae_schema.job_specs import FINAL_STATES, JobStatus

MAX_CRYSTALS = 20_000  # per owner, from the newest jobs; about 100 MB
MAX_OWNERS = 8  # in memory; the least recently used is dropped
BATCH = 100


class Collection(Protocol):
    """The methods of a MongoDB collection that the catalogue uses."""

    def insert_many(self, documents: list[dict[str, Any]]) -> Any: ...

    def delete_many(self, condition: dict[str, Any]) -> Any: ...

    def drop(self) -> None: ...


class Database(Protocol):
    """Collections by name."""

    def __getitem__(self, name: str) -> Collection: ...


IndexedJobs = dict[str, int]
"""Number of crystals in the collection by finished job."""


class Catalogue:
    """Keep the collection of each owner in step with the list of jobs; the owner is its name."""

    def __init__(
        self, services: Services, database: Database, max_crystals: int = MAX_CRYSTALS
    ) -> None:
        self._services, self._database = services, database
        self._max_crystals = max_crystals
        self._indexed: OrderedDict[str, IndexedJobs] = OrderedDict()  # by owner

    async def refresh(self, owner: str) -> None:
        """Index the finished jobs of the owner, newest first, up to `max_crystals`.

        Older and expired jobs are dropped. Raises RedisError and ResultStoreError.
        """
        indexed = self._indexed.setdefault(owner, {})
        self._indexed.move_to_end(owner)
        while len(self._indexed) > MAX_OWNERS:
            forgotten, _ = self._indexed.popitem(last=False)
            self._database[forgotten].drop()
        ids = [job_id for _, job_id in await self._services.queue.jobs_of(owner)]
        kept: set[str] = set()
        crystals = 0
        for start in range(0, len(ids), BATCH):
            batch = ids[start : start + BATCH]
            finished = await self._finished(owner, [one for one in batch if one not in indexed])
            for job_id in batch:
                if crystals >= self._max_crystals:
                    break
                if job_id in finished:
                    await self._add(owner, indexed, finished[job_id])
                if job_id in indexed:
                    kept.add(job_id)
                    crystals += indexed[job_id]
            if crystals >= self._max_crystals:
                break
        self._drop(owner, indexed, set(indexed) - kept)

    async def _finished(self, owner: str, job_ids: list[str]) -> dict[str, JobStatus]:
        if not job_ids:
            return {}
        found = await self._services.queue.statuses(job_ids, owner)
        return {one.id: one for one in found if one is not None and one.state in FINAL_STATES}

    async def _add(self, owner: str, indexed: IndexedJobs, status: JobStatus) -> None:
        failed = status.state == "failed"
        entries = [] if failed else await run_sync(_entries, self._services, status)
        if entries:
            self._database[owner].insert_many(entries)
        indexed[status.id] = len(entries)

    def _drop(self, owner: str, indexed: IndexedJobs, job_ids: set[str]) -> None:
        if job_ids:
            self._database[owner].delete_many({"job": {"$in": sorted(job_ids)}})
            for job_id in job_ids:
                del indexed[job_id]


def _entries(services: Services, status: JobStatus) -> list[dict[str, Any]]:
    result = stored_result(services.store, status.id)
    return [entry(record, status) for batch in result.batches() for record in batch]
