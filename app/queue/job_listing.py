"""`GET /jobs`: the jobs of an owner, newest first, in pages."""

import base64
import binascii
import math
from dataclasses import dataclass
from urllib.parse import urlencode

from app.http.problems import FieldError, invalid
from app.queue.job_queue import JobQueue
from cdvae_schema.job_specs import JobKind, JobState, JobStatus

BATCH = 100
MOST_LOOKED_AT = 1000  # jobs; a selective filter gives short pages instead of slow ones


@dataclass(frozen=True)
class Page:
    """Some jobs and the cursor of the next page; None after the last page."""

    jobs: list[JobStatus]
    cursor: str | None


@dataclass(frozen=True, order=True)
class Cursor:
    """A position in the list: after the job that was submitted at `moment`."""

    moment: float
    job_id: str

    def encode(self) -> str:
        """Return the cursor as opaque text for the client."""
        return base64.urlsafe_b64encode(f"{self.moment!r} {self.job_id}".encode()).decode()

    @classmethod
    def decode(cls, cursor: str) -> "Cursor":
        """Return the position that a client's cursor stands for; raise a 422 if it is invalid."""
        try:
            text_, _, job_id = base64.urlsafe_b64decode(cursor.encode()).decode().partition(" ")
            moment = float(text_)
            if not math.isfinite(moment):
                raise ValueError(f"the time {moment} is not finite")
        except (ValueError, binascii.Error) as error:
            detail = "cursor: it is not a cursor of this service"
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
    """Return at most `limit` of the owner's jobs that are of this state and kind, newest first."""
    found: list[JobStatus] = []
    position = Cursor(float("inf"), "") if cursor is None else Cursor.decode(cursor)
    for _ in range(MOST_LOOKED_AT // BATCH):
        batch = await _behind(queue, owner, position)
        if not batch:
            return Page(found, None)
        ids = [position.job_id for position in batch]
        for status, position in zip(await queue.statuses(ids, owner), batch, strict=True):
            if status is None or state not in (None, status.state):
                continue
            if kind in (None, status.kind):
                found.append(status)
            if len(found) == limit:
                more = bool(await _behind(queue, owner, position))
                return Page(found, position.encode() if more else None)
    return Page(found, position.encode())


async def _behind(queue: JobQueue, owner: str, position: Cursor) -> list[Cursor]:
    """Return the next jobs behind a position; expired ones may be among them."""
    jobs = await queue.jobs_of(owner, position.moment, BATCH)
    return [one for one in (Cursor(*job) for job in jobs) if one < position]


def next_link(path: str, query: dict[str, str], cursor: str) -> str:
    """Return the `Link` header of the page behind `cursor`."""
    return f'<{path}?{urlencode({**query, "cursor": cursor})}>; rel="next"'
