"""`GET /jobs/{id}/events`: a job as it happens, as server-sent events that can be resumed.

    id: 3            event: crystal     data: a CrystalRecord; the id is its number, from 1
    id: 3            event: progress    data: JobProgress
    id: end          event: done        data: JobStatus

Crystals come in the order of their index, read from the stored chunks, so that nothing but the
number of the last one is needed to go on: after a broken connection, at another front end, after
a restart of everything.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from anyio.to_thread import run_sync
from redis.exceptions import RedisError
from sse_starlette import ServerSentEvent

from app.dependencies import Services
from app.http.prefer_wait import LOOK_AGAIN
from app.queue.job_queue import JobNotFoundError
from app.results.export import stored_result
from app.results.formats import compact
from cdvae_schema.job_specs import FINAL_STATES, JobProgress, JobStatus
from cdvae_service.results.result_store import ResultStoreError

END = "end"


def crystals_seen(last_event_id: str | None) -> int:
    """How many crystals a client has that read as far as this event; 0 where it does not say."""
    text = last_event_id or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


@dataclass
class Crystals:
    """The crystals of a job that are stored by and by."""

    services: Services
    job_id: str
    sent: int
    chunk: int = 0
    before: int = 0  # crystals in the chunks before `chunk`

    def more(self) -> list[ServerSentEvent]:
        """The events of the crystals that came since the last call, a chunk at a time."""
        result = stored_result(self.services.store, self.job_id)
        for number, name in enumerate(result.chunks[self.chunk :], start=self.chunk):
            records = result.records(name)
            fresh = records[max(self.sent - self.before, 0) :]
            self.chunk, self.before = number + 1, self.before + len(records)
            if fresh:
                first = self.before - len(fresh) + 1
                self.sent = self.before
                return [
                    ServerSentEvent(compact(record), event="crystal", id=str(first + offset))
                    for offset, record in enumerate(fresh)
                ]
        return []


async def job_events(
    services: Services, status: JobStatus, owner: str, seen: int
) -> AsyncIterator[ServerSentEvent]:
    """The events behind the first `seen` crystals, up to the end of the job.

    An outage of Redis or of the store makes a pause: the client need not notice.
    """
    crystals = Crystals(services, status.id, seen)
    told: JobProgress | None = None
    with services.limiter.waiting():
        async with services.notifier.subscribe(status.id) as subscription:
            while True:
                try:
                    status = await services.queue.status(status.id, owner)
                    while events := await run_sync(crystals.more):
                        for event in events:
                            yield event
                except JobNotFoundError:  # it has expired meanwhile
                    return
                except (RedisError, ResultStoreError):
                    await subscription.wait(LOOK_AGAIN)
                    continue
                if status.progress != told:
                    told = status.progress
                    text = told.model_dump_json()
                    yield ServerSentEvent(text, event="progress", id=str(crystals.sent))
                if status.state in FINAL_STATES:
                    yield ServerSentEvent(status.model_dump_json(), event="done", id=END)
                    return
                await subscription.wait(LOOK_AGAIN)
