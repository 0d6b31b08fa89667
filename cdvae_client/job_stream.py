"""A job's events (server-sent) as they are read, over as many connections as it takes."""

from __future__ import annotations

import httpx2

from cdvae_client.call_driver import Flow
from cdvae_client.calls import Calls, Told
from cdvae_client.client_errors import refusal
from cdvae_client.crystals import AnyCrystal, read_crystals
from cdvae_schema.job_specs import JobProgress, JobStatus

LOSSES = 3  # connections in a row that said nothing; then the job is polled instead
FIRST_PAUSE = 0.5  # s between two connections, doubled after each
SILENCE = 60.0  # s without even a ping after which a connection counts as dead


class Follower:
    """What is known of a job while its events are read.

    status: the last one; over: whether no more crystals will come; polling: whether events are of
    no use here (a proxy in the way, too many streams open), so that the result has to be awaited.
    """

    def __init__(self, status: JobStatus) -> None:
        self.status = status
        self.over = self.polling = False
        self._last_id = ""
        self._losses = 0
        self._seen: set[int] = set()

    @property
    def headers(self) -> dict[str, str]:
        """What the next connection goes on from."""
        return {"Last-Event-ID": self._last_id} if self._last_id else {}

    def take(self, event: httpx2.ServerSentEvent) -> AnyCrystal | None:
        """The crystal of an event, unless it tells something else or is known."""
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
        """Those that have not been seen, by index; they are now."""
        found = [one for one in crystals if one.index not in self._seen]
        self._seen.update(one.index for one in found)
        return sorted(found, key=lambda one: one.index)

    def refused(self, response: httpx2.Response) -> None:
        """Notes that the service gave no stream; RefusedError where polling would be no better.

        The answer must have been read.
        """
        if response.status_code < 500 and response.status_code != httpx2.codes.TOO_MANY_REQUESTS:
            raise refusal(response)
        self.polling = True

    def lost(self, error: httpx2.TransportError | None = None) -> float:
        """Counts a connection that ended before the job did; seconds until the next one."""
        self._losses += 1
        self.polling = self._losses >= LOSSES or isinstance(error, httpx2.SSEError)
        return 0.0 if self.polling else FIRST_PAUSE * 2 ** (self._losses - 1)

    @property
    def going_on(self) -> bool:
        """Whether another connection should be made."""
        return not self.over and not self.polling


def polled(calls: Calls, follower: Follower, told: Told | None) -> Flow[list[AnyCrystal]]:
    """Waits for the end without events; the crystals that are still to be handed out."""
    follower.status = yield from calls.end(follower.status.id, None, told)
    follower.over = True
    if follower.status.state == "failed":
        return []
    result = yield from calls.result(follower.status.id)
    return follower.fresh(result.crystals)
