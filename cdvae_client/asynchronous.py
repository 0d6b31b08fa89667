"""The client for asyncio: the calls of `synchronous.py`, which explains them, to be awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from pathlib import Path
from types import TracebackType
from typing import TypeVar, Unpack

import httpx2

from cdvae_client.calls import Calls, Form, raise_unless_whole
from cdvae_client.crystals import AnyCrystal, Result
from cdvae_client.exchange import Flow, Pause, Reply, Retries
from cdvae_client.fields import (
    GenerateFields,
    OptimizeFields,
    ReconstructFields,
    generate_body,
    optimize_body,
    reconstruct_body,
)
from cdvae_client.following import SILENCE, Follower, polled
from cdvae_client.progress import Progress, shown
from cdvae_client.settings import TIMEOUT, http_options, patient
from cdvae_client.structures import Given
from schema.cards import ModelCard
from schema.jobs import JobKind, JobState, JobStatus

T = TypeVar("T")


class AsyncClient:
    """A CDVAE service, for asyncio; the arguments and errors are those of `Client`."""

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        retries: Retries | None = None,
        timeout: float = TIMEOUT,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx2.AsyncClient(**http_options(url, key, timeout), transport=transport)
        self._calls = Calls(self._http, retries or Retries())

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def generate(
        self, *, idempotency_key: str | None = None, **fields: Unpack[GenerateFields]
    ) -> AsyncJob:
        """As `Client.generate`."""
        return await self._submit("/generate", generate_body(fields), idempotency_key)

    async def reconstruct(
        self,
        structures: Given | Iterable[Given],
        *,
        idempotency_key: str | None = None,
        **fields: Unpack[ReconstructFields],
    ) -> AsyncJob:
        """As `Client.reconstruct`."""
        body = reconstruct_body(structures, fields)
        return await self._submit("/reconstruct", body, idempotency_key)

    async def optimize(
        self,
        prop: str,
        *,
        idempotency_key: str | None = None,
        **fields: Unpack[OptimizeFields],
    ) -> AsyncJob:
        """As `Client.optimize`."""
        params = {"property": prop}
        return await self._submit("/optimize", optimize_body(fields), idempotency_key, params)

    async def job(self, job_id: str) -> AsyncJob:
        """As `Client.job`."""
        return AsyncJob(self, await self._run(self._calls.status(job_id)))

    async def jobs(
        self, *, state: JobState | None = None, kind: JobKind | None = None, limit: int = 20
    ) -> list[AsyncJob]:
        """As `Client.jobs`."""
        found = await self._run(self._calls.jobs(state, kind, limit))
        return [AsyncJob(self, one) for one in found]

    async def models(self) -> list[ModelCard]:
        """As `Client.models`."""
        return await self._run(self._calls.models())

    async def model(self, name: str) -> ModelCard:
        """As `Client.model`."""
        return await self._run(self._calls.model(name))

    async def _submit(
        self, path: str, body: bytes, key: str | None, params: dict[str, str] | None = None
    ) -> AsyncJob:
        return AsyncJob(self, await self._run(self._calls.submit(path, body, key, params)))

    async def _run(self, flow: Flow[T]) -> T:
        reply: Reply = None
        while True:
            try:
                step = flow.send(reply)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
                reply = None
                continue
            try:
                reply = await self._http.send(step)
            except httpx2.TransportError as error:
                reply = error


class AsyncJob:
    """A job of a service; `async for` gives its crystals as they are made. See `Job`."""

    def __init__(self, client: AsyncClient, status: JobStatus) -> None:
        self._client = client
        self.status = status

    def __repr__(self) -> str:
        return f"<AsyncJob {self.id}: {self.status.kind}, {self.state}>"

    @property
    def id(self) -> str:
        """What names the job; `AsyncClient.job` finds it again."""
        return self.status.id

    @property
    def state(self) -> JobState:
        """The state that was last heard of."""
        return self.status.state

    async def refresh(self) -> JobStatus:
        """As `Job.refresh`."""
        self.status = await self._client._run(self._client._calls.status(self.id))
        return self.status

    async def finish(
        self, timeout: float | None = None, *, progress: Progress = False
    ) -> JobStatus:
        """As `Job.finish`."""
        with shown(progress) as told:
            self.status = await self._client._run(self._client._calls.end(self.id, timeout, told))
        raise_unless_whole(self.status)
        return self.status

    async def wait(self, timeout: float | None = None, *, progress: Progress = False) -> Result:
        """As `Job.wait`."""
        await self.finish(timeout, progress=progress)
        return await self.result()

    async def result(self) -> Result:
        """As `Job.result`."""
        return await self._client._run(self._client._calls.result(self.id))

    async def read(self, form: Form) -> bytes:
        """As `Job.read`."""
        return await self._client._run(self._client._calls.download(self.id, form))

    async def download(self, path: str | Path, form: Form = "zip") -> Path:
        """As `Job.download`."""
        await asyncio.to_thread(Path(path).write_bytes, await self.read(form))
        return Path(path)

    async def cancel(self) -> JobStatus:
        """As `Job.cancel`."""
        self.status = await self._client._run(self._client._calls.cancel(self.id))
        return self.status

    def __aiter__(self) -> AsyncIterator[AnyCrystal]:
        return self.crystals()

    async def crystals(self, *, progress: Progress = False) -> AsyncGenerator[AnyCrystal]:
        """As `Job.crystals`."""
        follower = Follower(self.status)
        with shown(progress) as told:
            while follower.going_on:
                async for crystal in self._connection(follower):
                    if told is not None:
                        told(follower.status)
                    if crystal is not None:
                        yield crystal
            if not follower.over:
                for one in await self._client._run(polled(self._client._calls, follower, told)):
                    yield one
        self.status = follower.status
        raise_unless_whole(self.status)

    async def _connection(self, follower: Follower) -> AsyncGenerator[AnyCrystal | None]:
        http = self._client._http
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
        await asyncio.sleep(pause)
