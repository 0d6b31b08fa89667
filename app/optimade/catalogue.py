"""The crystals of finished jobs in memory, as OPTIMADE queries them; each owner's apart."""

from collections import OrderedDict
from typing import Any, Protocol

from anyio.to_thread import run_sync

from app.dependencies import Services
from app.optimade.optimade_entries import entry
from app.queue.job_listing import Place, statuses
from app.queue.job_status import text
from app.results.export import stored_result
from cdvae_schema.job_specs import FINAL_STATES, JobStatus
from cdvae_schema.wire import jobs_key

MOST_CRYSTALS = 20_000  # of one owner, those of the newest jobs; some 100 MB
MOST_OWNERS = 8  # in memory; the one that asked the longest ago makes room
BATCH = 100


class Collection(Protocol):
    """What is needed of a MongoDB collection."""

    def insert_many(self, documents: list[dict[str, Any]]) -> Any: ...

    def delete_many(self, condition: dict[str, Any]) -> Any: ...

    def drop(self) -> None: ...


class Database(Protocol):
    """Collections by name."""

    def __getitem__(self, name: str) -> Collection: ...


Shelf = dict[str, int]
"""Number of crystals that were taken of each finished job."""


class Catalogue:
    """Keeps the collection of an owner, named like the owner, as the job list has it."""

    def __init__(self, parts: Services, database: Database) -> None:
        self._parts, self._database = parts, database
        self._shelves: OrderedDict[str, Shelf] = OrderedDict()

    async def renew(self, owner: str) -> None:
        """Take up the jobs that ended since the last call, and drop those that expired.

        Raises RedisError and ResultStoreError.
        """
        shelf = self._shelves.setdefault(owner, {})
        self._shelves.move_to_end(owner)
        while len(self._shelves) > MOST_OWNERS:
            forgotten, _ = self._shelves.popitem(last=False)
            self._database[forgotten].drop()
        listed: Any = await self._parts.queue.redis.zrange(jobs_key(owner), 0, -1)
        ids = [text(one) for one in listed]
        self._drop(owner, shelf, set(shelf) - set(ids))
        fresh = [one for one in reversed(ids) if one not in shelf]
        for start in range(0, len(fresh), BATCH):
            places = [Place(0.0, one) for one in fresh[start : start + BATCH]]
            for status in await statuses(self._parts.queue, owner, places):
                if status is not None and status.state in FINAL_STATES:
                    if sum(shelf.values()) >= MOST_CRYSTALS:
                        return  # newer jobs came first
                    await self._take(owner, shelf, status)

    async def _take(self, owner: str, shelf: Shelf, status: JobStatus) -> None:
        entries = [] if status.state == "failed" else await run_sync(_entries, self._parts, status)
        if entries:
            self._database[owner].insert_many(entries)
        shelf[status.id] = len(entries)

    def _drop(self, owner: str, shelf: Shelf, gone: set[str]) -> None:
        if gone:
            self._database[owner].delete_many({"job": {"$in": sorted(gone)}})
            for one in gone:
                del shelf[one]


def _entries(parts: Services, status: JobStatus) -> list[dict[str, Any]]:
    result = stored_result(parts.store, status.id)
    return [entry(record, status) for batch in result.batches() for record in batch]
