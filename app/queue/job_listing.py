"""`GET /jobs`: an owner's jobs, newest first, a page at a time."""

import base64
import binascii
import math
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
class Cursor:
    """A position in the list: behind the job that was submitted at that time."""

    moment: float
    job_id: str

    def encode(self) -> str:
        """The position as text for a client, who has no business with what it says."""
        return base64.urlsafe_b64encode(f"{self.moment!r} {self.job_id}".encode()).decode()

    @classmethod
    def decode(cls, cursor: str) -> "Cursor":
        """The position that a cursor stands for; 422 for one that is not of this service."""
        try:
            text_, _, job_id = base64.urlsafe_b64decode(cursor.encode()).decode().partition(" ")
            moment = float(text_)
            if not math.isfinite(moment):
                raise ValueError(f"the time {moment} is not finite")
        except (ValueError, binascii.Error) as error:
            detail = "cursor: it is not one that this service gave"
            raise invalid([FieldError(detail=detail, parameter="cursor")]) from error
        return cls(moment, job_id)


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
    position = Cursor(float("inf"), "") if cursor is None else Cursor.decode(cursor)
    for _ in range(MOST_LOOKED_AT // BATCH):
        batch = await _behind(queue, owner, position)
        if not batch:
            return Page(found, None)
        for status, position in zip(await statuses(queue, owner, batch), batch, strict=True):
            if status is None or state not in (None, status.state):
                continue
            if kind in (None, status.kind):
                found.append(status)
            if len(found) == limit:
                more = bool(await _behind(queue, owner, position))
                return Page(found, position.encode() if more else None)
    return Page(found, position.encode())


async def _behind(queue: JobQueue, owner: str, position: Cursor) -> list[Cursor]:
    """The next jobs behind a position; expired ones may be among them."""
    rows: Any = await queue.redis.zrevrangebyscore(
        jobs_key(owner), position.moment, "-inf", start=0, num=BATCH, withscores=True
    )
    positions = [Cursor(float(score), text(job_id)) for job_id, score in rows]
    return [one for one in positions if one < position]


async def statuses(queue: JobQueue, owner: str, positions: list[Cursor]) -> list[JobStatus | None]:
    """The jobs at these positions; None for one that has expired."""
    async with queue.redis.pipeline(transaction=False) as pipeline:
        for position in positions:
            await queue.scripts["status"](args=queue.asked(position.job_id), client=pipeline)
        replies = await pipeline.execute()
    found: list[JobStatus | None] = []
    for position, reply in zip(positions, replies, strict=True):
        try:
            found.append(queue.described(position.job_id, owner, reply))
        except JobNotFoundError:
            found.append(None)
    return found


def next_link(path: str, query: dict[str, str], cursor: str) -> str:
    """The `Link` header of the page behind `cursor`."""
    return f'<{path}?{urlencode({**query, "cursor": cursor})}>; rel="next"'
