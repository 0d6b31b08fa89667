"""Client for asyncio; `client.py` documents its methods."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Unpack

import httpx2

from cdvae_client.async_job import AsyncJob
from cdvae_client.call_driver import Retries
from cdvae_client.client_settings import TIMEOUT, http_options
from cdvae_client.fields import (
    GenerateFields,
    InterpolateFields,
    OptimizeFields,
    ReconstructFields,
    VaryFields,
    generate_body,
    interpolate_body,
    optimize_body,
    reconstruct_body,
    vary_body,
)
from cdvae_client.session import AsyncSession
from cdvae_client.structure_conversion import Given
from cdvae_schema.cards import ModelCard
from cdvae_schema.job_specs import JobKind, JobState


class AsyncClient:
    """Client of a CDVAE service for asyncio, with the arguments and errors of `Client`."""

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        retries: Retries | None = None,
        timeout: float = TIMEOUT,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        http = httpx2.AsyncClient(**http_options(url, key, timeout), transport=transport)
        self._session = AsyncSession(http, retries or Retries())

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
        await self._session.http.aclose()

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
        prop: str | None = None,
        *,
        idempotency_key: str | None = None,
        **fields: Unpack[OptimizeFields],
    ) -> AsyncJob:
        """As `Client.optimize`."""
        params = None if prop is None else {"property": prop}
        return await self._submit("/optimize", optimize_body(fields), idempotency_key, params)

    async def interpolate(
        self,
        structures: Given | Iterable[Given],
        *,
        idempotency_key: str | None = None,
        **fields: Unpack[InterpolateFields],
    ) -> AsyncJob:
        """As `Client.interpolate`."""
        body = interpolate_body(structures, fields)
        return await self._submit("/interpolate", body, idempotency_key)

    async def vary(
        self,
        structure: Given,
        *,
        idempotency_key: str | None = None,
        **fields: Unpack[VaryFields],
    ) -> AsyncJob:
        """As `Client.vary`."""
        return await self._submit("/variations", vary_body(structure, fields), idempotency_key)

    async def job(self, job_id: str) -> AsyncJob:
        """As `Client.job`."""
        return AsyncJob(self._session, await self._session.run(self._session.calls.status(job_id)))

    async def jobs(
        self, *, state: JobState | None = None, kind: JobKind | None = None, limit: int = 20
    ) -> list[AsyncJob]:
        """As `Client.jobs`."""
        found = await self._session.run(self._session.calls.jobs(state, kind, limit))
        return [AsyncJob(self._session, one) for one in found]

    async def models(self) -> list[ModelCard]:
        """As `Client.models`."""
        return await self._session.run(self._session.calls.models())

    async def model(self, name: str) -> ModelCard:
        """As `Client.model`."""
        return await self._session.run(self._session.calls.model(name))

    async def _submit(
        self, path: str, body: bytes, key: str | None, params: dict[str, str] | None = None
    ) -> AsyncJob:
        return AsyncJob(
            self._session,
            await self._session.run(self._session.calls.submit(path, body, key, params)),
        )
