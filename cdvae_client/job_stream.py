"""Server-sent events of a job, across reconnections."""

from __future__ import annotations

import httpx2

from cdvae_client.call_driver import Flow
from cdvae_client.calls import Calls, Told
from cdvae_client.client_errors import refusal
from cdvae_client.crystals import AnyCrystal, read_crystals
from cdvae_schema.job_specs import JobProgress, JobStatus

LOSSES = 3  # consecutive connections without an event; then the job is polled
FIRST_PAUSE = 0.5  # s between two connections, doubled after each
SILENCE = 60.0  # s without an event or ping after which a connection counts as broken


class Follower:
    """State of a job while its events are read.

    status: last known status; over: no more crystals will come; polling: events are unavailable (a
    proxy buffers them, too many streams are open), so the job is polled.
    """

    def __init__(self, status: JobStatus) -> None:
        self.status = status
        self.over = self.polling = False
        self._last_id = ""
        self._losses = 0
        self._seen: set[int] = set()

    @property
    def headers(self) -> dict[str, str]:
        """Headers that make the next connection resume after the last event."""
        return {"Last-Event-ID": self._last_id} if self._last_id else {}

    def take(self, event: httpx2.ServerSentEvent) -> AnyCrystal | None:
        """Return the crystal of an event; None for other events and for known crystals."""
        self._losses = 0
        self._last_id = event.id or self._last_id
        if event.event == "crystal":
            (crystal,) = self.fresh(read_crystals(self.status.kind, [event.json()])) or (None,)
            return crystal
        if event.event == "progress":
            progress = JobProgress.model_validate_json(event.data, extra="ignore")
            self.status = self.status.model_copy(update={"progress": progress})
        elif event.event == "done":
            self.status = JobStatus.model_validate_json(event.data, extra="ignore")
            self.over = True
        return None

    def fresh(self, crystals: list[AnyCrystal]) -> list[AnyCrystal]:
        """Return the crystals that are new, sorted by index, and remember them."""
        found = [one for one in crystals if one.index not in self._seen]
        self._seen.update(one.index for one in found)
        return sorted(found, key=lambda one: one.index)

    def refused(self, response: httpx2.Response) -> None:
        """Switch to polling after an error response; raises RefusedError for most client errors.

        The body of the response must have been read.
        """
        if response.status_code < 500 and response.status_code != httpx2.codes.TOO_MANY_REQUESTS:
            raise refusal(response)
        self.polling = True

    def lost(self, error: httpx2.TransportError | None = None) -> float:
        """Count a connection that ended before the job; return the seconds until the next one."""
        self._losses += 1
        self.polling = self._losses >= LOSSES or isinstance(error, httpx2.SSEError)
        return 0.0 if self.polling else FIRST_PAUSE * 2 ** (self._losses - 1)

    @property
    def going_on(self) -> bool:
        """Whether to connect again."""
        return not self.over and not self.polling


def polled(calls: Calls, follower: Follower, told: Told | None) -> Flow[list[AnyCrystal]]:
    """Poll until the job ends; return the crystals that no event has brought."""
    follower.status = yield from calls.end(follower.status.id, None, told)
    follower.over = True
    if follower.status.state == "failed":
        return []
    result = yield from calls.result(follower.status.id)
    return follower.fresh(result.crystals)
