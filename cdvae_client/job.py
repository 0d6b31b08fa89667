# Generated from async_job.py by `make client`; change that file instead.
"""A job: follow it, fetch its result, cancel it."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import httpx2

from cdvae_client.blocking import sleep, write_file
from cdvae_client.calls import Form, raise_unless_whole
from cdvae_client.client_settings import patient
from cdvae_client.crystals import AnyCrystal, Result
from cdvae_client.job_stream import SILENCE, Follower, polled
from cdvae_client.progress import Progress, shown
from cdvae_client.session import Session
from cdvae_schema.job_specs import JobState, JobStatus


class Job:
    """Job of a service; iteration yields its crystals as they are made.

    status: last known status.
    """

    def __init__(self, session: Session, status: JobStatus) -> None:
        self._session = session
        self.status = status

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}: {self.status.kind}, {self.state}>"

    @property
    def id(self) -> str:
        """Id of the job, for the method `job` of a client."""
        return self.status.id

    @property
    def state(self) -> JobState:
        """Last known state."""
        return self.status.state

    def refresh(self) -> JobStatus:
        """Fetch and return the status."""
        self.status = self._session.run(self._session.calls.status(self.id))
        return self.status

    def finish(self, timeout: float | None = None, *, progress: Progress = False) -> JobStatus:
        """Wait for the end of the job and return its status.

        progress: True for a bar, or a function that receives every status.

        Raises JobFailedError, JobCancelledError, and WaitTimeoutError after `timeout` seconds.
        """
        with shown(progress) as told:
            self.status = self._session.run(self._session.calls.end(self.id, timeout, told))
        raise_unless_whole(self.status)
        return self.status

    def wait(self, timeout: float | None = None, *, progress: Progress = False) -> Result:
        """Wait for the end of the job and return its result; raises as `finish` does."""
        self.finish(timeout, progress=progress)
        return self.result()

    def result(self) -> Result:
        """Return the result of a finished or cancelled job; raises ConflictError for other jobs."""
        return self._session.run(self._session.calls.result(self.id))

    def read(self, form: Form) -> bytes:
        """Return the result in one of the service's formats."""
        return self._session.run(self._session.calls.download(self.id, form))

    def download(self, path: str | Path, form: Form = "zip") -> Path:
        """Write the result to a file, in one of the service's formats, and return the path."""
        write_file(Path(path), self.read(form))
        return Path(path)

    def cancel(self) -> JobStatus:
        """Cancel the job; the service keeps its finished crystals."""
        self.status = self._session.run(self._session.calls.cancel(self.id))
        return self.status

    def __iter__(self) -> Iterator[AnyCrystal]:
        return self.crystals()

    def crystals(self, *, progress: Progress = False) -> Generator[AnyCrystal]:
        """Yield the crystals as they are made, until the job ends.

        A broken connection is resumed at the last event; where events are unavailable, the job is
        polled. Only the result has `duplicate_of`. Raises at the end, as `wait` does.
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
                for one in self._session.run(polled(self._session.calls, follower, told)):
                    yield one
        self.status = follower.status
        raise_unless_whole(self.status)

    def _connection(self, follower: Follower) -> Generator[AnyCrystal | None]:
        """Yield the crystal of each event of one connection, None for other events."""
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
        sleep(pause)
