"""A job of the client that waits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx2

from cdvae_client.calls import Form, raise_unless_whole
from cdvae_client.client_settings import patient
from cdvae_client.crystals import AnyCrystal, Result
from cdvae_client.job_stream import SILENCE, Follower, polled
from cdvae_client.progress import Progress, shown
from cdvae_client.session import Session
from cdvae_schema.job_specs import JobState, JobStatus


class Job:
    """A job of a service; iterating gives its crystals as they are made.

    status: what was last heard of it.
    """

    def __init__(self, session: Session, status: JobStatus) -> None:
        self._session = session
        self.status = status

    def __repr__(self) -> str:
        return f"<Job {self.id}: {self.status.kind}, {self.state}>"

    @property
    def id(self) -> str:
        """What names the job; `Client.job` finds it again."""
        return self.status.id

    @property
    def state(self) -> JobState:
        """The state that was last heard of."""
        return self.status.state

    def refresh(self) -> JobStatus:
        """Ask how the job is doing."""
        self.status = self._session.run(self._session.calls.status(self.id))
        return self.status

    def finish(self, timeout: float | None = None, *, progress: Progress = False) -> JobStatus:
        """The state once the job is over; progress: True for a bar, or what to tell.

        Raises JobFailedError, JobCancelledError, and WaitTimeoutError after `timeout` seconds.
        """
        with shown(progress) as told:
            self.status = self._session.run(self._session.calls.end(self.id, timeout, told))
        raise_unless_whole(self.status)
        return self.status

    def wait(self, timeout: float | None = None, *, progress: Progress = False) -> Result:
        """The result, once the job is over; as `finish`."""
        self.finish(timeout, progress=progress)
        return self.result()

    def result(self) -> Result:
        """The result of a finished or cancelled job, without waiting: ConflictError before."""
        return self._session.run(self._session.calls.result(self.id))

    def read(self, form: Form) -> bytes:
        """The result in one of the service's forms."""
        return self._session.run(self._session.calls.download(self.id, form))

    def download(self, path: str | Path, form: Form = "zip") -> Path:
        """Write the result into a file, in one of the service's forms; returns the path."""
        Path(path).write_bytes(self.read(form))
        return Path(path)

    def cancel(self) -> JobStatus:
        """Ask for the end of the job; what it has made is kept."""
        self.status = self._session.run(self._session.calls.cancel(self.id))
        return self.status

    def __iter__(self) -> Iterator[AnyCrystal]:
        return self.crystals()

    def crystals(self, *, progress: Progress = False) -> Iterator[AnyCrystal]:
        """The crystals as they are made, by index, until the job is over.

        Connections that break are made again where they stopped; without events the result is
        awaited. Only the result knows `duplicate_of`. Raises as `wait`, at the end.
        """
        follower = Follower(self.status)
        with shown(progress) as told:
            while follower.going_on:
                for crystal in self._connection(follower):
                    if told is not None:
                        told(follower.status)
                    if crystal is not None:
                        yield crystal
            if not follower.over:
                yield from self._session.run(polled(self._session.calls, follower, told))
        self.status = follower.status
        raise_unless_whole(self.status)

    def _connection(self, follower: Follower) -> Iterator[AnyCrystal | None]:
        """What one connection's events bring: a crystal, or None for anything else."""
        http = self._session.http
        timeout = patient(http.timeout, SILENCE)
        path = f"/jobs/{self.id}/events"
        try:
            with http.sse(path, headers=follower.headers, timeout=timeout) as events:
                if events.response.is_error:
                    events.response.read()
                    follower.refused(events.response)
                    return
                for event in events:
                    yield follower.take(event)
                    if follower.over:
                        return
            pause = follower.lost()
        except httpx2.TransportError as error:
            pause = follower.lost(error)
        time.sleep(pause)
