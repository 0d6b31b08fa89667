"""A job: follow it, fetch its result, cancel it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import httpx2

from cdvae_client.async_session import AsyncSession
from cdvae_client.blocking import async_sleep, async_write_file
from cdvae_client.calls import Form, raise_unless_whole
from cdvae_client.client_settings import patient
from cdvae_client.crystals import AnyCrystal, Result
from cdvae_client.job_stream import SILENCE, Follower, polled
from cdvae_client.progress import Progress, shown
from cdvae_schema.job_specs import JobState, JobStatus


class AsyncJob:
    """Job of a service; iteration yields its crystals as they are made.

    status: last known status.
    """

    def __init__(self, session: AsyncSession, status: JobStatus) -> None:
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

    async def refresh(self) -> JobStatus:
        """Fetch and return the status."""
        self.status = await self._session.run(self._session.calls.status(self.id))
        return self.status

    async def finish(
        self, timeout: float | None = None, *, progress: Progress = False
    ) -> JobStatus:
        """Wait for the end of the job and return its status.

        progress: True for a bar, or a function that receives every status.

        Raises JobFailedError, JobCancelledError, and WaitTimeoutError after `timeout` seconds.
        """
        with shown(progress) as told:
            self.status = await self._session.run(self._session.calls.end(self.id, timeout, told))
        raise_unless_whole(self.status)
        return self.status

    async def wait(self, timeout: float | None = None, *, progress: Progress = False) -> Result:
        """Wait for the end of the job and return its result; raises as `finish` does."""
        await self.finish(timeout, progress=progress)
        return await self.result()

    async def result(self) -> Result:
        """Return the result of a finished or cancelled job; raises ConflictError for other jobs."""
        return await self._session.run(self._session.calls.result(self.id))

    async def read(self, form: Form) -> bytes:
        """Return the result in one of the service's formats."""
        return await self._session.run(self._session.calls.download(self.id, form))

    async def download(self, path: str | Path, form: Form = "zip") -> Path:
        """Write the result to a file, in one of the service's formats, and return the path."""
        await async_write_file(Path(path), await self.read(form))
        return Path(path)

    async def cancel(self) -> JobStatus:
        """Cancel the job; the service keeps its finished crystals."""
        self.status = await self._session.run(self._session.calls.cancel(self.id))
        return self.status

    def __aiter__(self) -> AsyncIterator[AnyCrystal]:
        return self.crystals()

    async def crystals(self, *, progress: Progress = False) -> AsyncGenerator[AnyCrystal]:
        """Yield the crystals as they are made, until the job ends.

        A broken connection is resumed at the last event; where events are unavailable, the job is
        polled. Only the result has `duplicate_of`. Raises at the end, as `wait` does.
        """
        follower = Follower(self.status)
        with shown(progress) as told:
            while follower.going_on:
                async for crystal in self._connection(follower):
                    if told is not None:
                        told(follower.status)
                    if crystal is not None:
                        yield crystal
            if not follower.over:
                for one in await self._session.run(polled(self._session.calls, follower, told)):
                    yield one
        self.status = follower.status
        raise_unless_whole(self.status)

    async def _connection(self, follower: Follower) -> AsyncGenerator[AnyCrystal | None]:
        """Yield the crystal of each event of one connection, None for other events."""
        http = self._session.http
        timeout = patient(http.timeout, SILENCE)
        path = f"/jobs/{self.id}/events"
        try:
            async with http.sse(path, headers=follower.headers, timeout=timeout) as events:
                if events.response.is_error:
                    await events.response.aread()
                    follower.refused(events.response)
                    return
                async for event in events:
                    yield follower.take(event)
                    if follower.over:
                        return
            pause = follower.lost()
        except httpx2.TransportError as error:
            pause = follower.lost(error)
        await async_sleep(pause)
