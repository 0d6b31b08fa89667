"""`GET /jobs`: an owner's jobs, newest first, a page at a time."""

import base64
import binascii
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from app.http.problems import FieldError, invalid
from app.queue.job_queue import JobNotFoundError, JobQueue
from app.queue.job_status import text
from cdvae_schema.job_specs import JobKind, JobState, JobStatus
from cdvae_schema.wire import jobs_key

BATCH = 100
MOST_LOOKED_AT = 1000  # jobs; a filter that few pass gives short pages instead of slow ones


@dataclass(frozen=True)
class Page:
    """Some jobs, and where the next page begins: None after the last one."""

    jobs: list[JobStatus]
    cursor: str | None


@dataclass(frozen=True, order=True)
class Place:
    """A place in the list: behind the job that was submitted at that time."""

    moment: float
    job_id: str

    def cursor(self) -> str:
        """The place as text for a client, who has no business with what it says."""
        return base64.urlsafe_b64encode(f"{self.moment!r} {self.job_id}".encode()).decode()

    @classmethod
    def of(cls, cursor: str) -> "Place":
        """The place that a cursor stands for; 422 for one that is not of this service."""
        try:
            moment, _, job_id = base64.urlsafe_b64decode(cursor.encode()).decode().partition(" ")
            return cls(float(moment), job_id)
        except (ValueError, binascii.Error) as error:
            detail = "cursor: it is not one that this service gave"
            raise invalid([FieldError(detail=detail, parameter="cursor")]) from error


async def list_jobs(
    queue: JobQueue,
    owner: str,
    state: JobState | None,
    kind: JobKind | None,
    limit: int,
    cursor: str | None,
) -> Page:
    """At most `limit` of the owner's jobs that are of this state and kind, newest first."""
    found: list[JobStatus] = []
    place = Place(float("inf"), "") if cursor is None else Place.of(cursor)
    for _ in range(MOST_LOOKED_AT // BATCH):
        batch = await _behind(queue, owner, place)
        if not batch:
            return Page(found, None)
        for status, place in zip(await statuses(queue, owner, batch), batch, strict=True):
            if status is None or state not in (None, status.state):
                continue
            if kind in (None, status.kind):
                found.append(status)
            if len(found) == limit:
                more = bool(await _behind(queue, owner, place))
                return Page(found, place.cursor() if more else None)
    return Page(found, place.cursor())


async def _behind(queue: JobQueue, owner: str, place: Place) -> list[Place]:
    """The next jobs behind a place; expired ones may be among them."""
    rows: Any = await queue.redis.zrevrangebyscore(
        jobs_key(owner), place.moment, "-inf", start=0, num=BATCH, withscores=True
    )
    places = [Place(float(score), text(job_id)) for job_id, score in rows]
    return [one for one in places if one < place]


async def statuses(queue: JobQueue, owner: str, places: list[Place]) -> list[JobStatus | None]:
    """The jobs at these places; None for one that has expired."""
    async with queue.redis.pipeline(transaction=False) as pipeline:
        for place in places:
            await queue.scripts["status"](args=queue.asked(place.job_id), client=pipeline)
        replies = await pipeline.execute()
    found: list[JobStatus | None] = []
    for place, reply in zip(places, replies, strict=True):
        try:
            found.append(queue.described(place.job_id, owner, reply))
        except JobNotFoundError:
            found.append(None)
    return found


def next_link(path: str, query: dict[str, str], cursor: str) -> str:
    """The `Link` header of the page behind `cursor`."""
    return f'<{path}?{urlencode({**query, "cursor": cursor})}>; rel="next"'
