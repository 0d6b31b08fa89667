"""The client: submit jobs, find jobs and models."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Unpack

import httpx2

from cdvae_client.async_job import AsyncJob
from cdvae_client.async_session import AsyncSession
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
from cdvae_client.structure_conversion import Given
from cdvae_schema.cards import ModelCard
from cdvae_schema.job_specs import JobKind, JobState


class AsyncClient:
    """Client of a CDVAE service; as a context manager it closes its connections at the end.

    Threads can share a `Client`; the methods of an `AsyncClient` are coroutines.

    url: URL of the service, default CDVAE_SERVER or port 8000 of this machine; key: API key,
    default CDVAE_API_KEY; retries: policy for repeated requests; timeout: seconds for one response;
    transport: HTTP transport, for proxies and tests.

    Every method may raise `RefusedError` or `UnreachableError` (see `cdvae_client.client_errors`).
    """

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
        """Submit a job that samples new crystals; the fields are those of `GenerateRequest`.

        idempotency_key: requests with the same key and fields share one job; by default each call
        submits a new job.
        """
        return await self._submit("/generate", generate_body(fields), idempotency_key)

    async def reconstruct(
        self,
        structures: Given | Iterable[Given],
        *,
        idempotency_key: str | None = None,
        **fields: Unpack[ReconstructFields],
    ) -> AsyncJob:
        """Submit a job that encodes and decodes crystals; fields as in `ReconstructRequest`.

        structures: one or several of: CIF text, the path of a CIF file, pymatgen's `Structure` or
        its dictionary, ASE's `Atoms`, a crystal of an earlier job.
        """
        body = reconstruct_body(structures, fields)
        return await self._submit("/reconstruct", body, idempotency_key)

    async def optimize(
        self,
        prop: str | None = None,
        *,
        idempotency_key: str | None = None,
        **fields: Unpack[OptimizeFields],
    ) -> AsyncJob:
        """Submit a job that improves properties; fields as in `OptimizeRequest`.

        prop: a property of the model's card; None where `objectives` names all properties. start:
        "dataset", "prior", or crystals in the forms that `reconstruct` accepts.
        """
        params = None if prop is None else {"property": prop}
        return await self._submit("/optimize", optimize_body(fields), idempotency_key, params)

    async def interpolate(
        self,
        structures: Given | Iterable[Given],
        *,
        idempotency_key: str | None = None,
        **fields: Unpack[InterpolateFields],
    ) -> AsyncJob:
        """Submit a job that interpolates two crystals; fields as in `InterpolateRequest`.

        structures: the two crystals, in the forms that `reconstruct` accepts.
        """
        body = interpolate_body(structures, fields)
        return await self._submit("/interpolate", body, idempotency_key)

    async def vary(
        self,
        structure: Given,
        *,
        idempotency_key: str | None = None,
        **fields: Unpack[VaryFields],
    ) -> AsyncJob:
        """Submit a job that samples variations of a crystal; fields as in `VaryRequest`."""
        return await self._submit("/variations", vary_body(structure, fields), idempotency_key)

    async def job(self, job_id: str) -> AsyncJob:
        """Return a job by its id."""
        return AsyncJob(self._session, await self._session.run(self._session.calls.status(job_id)))

    async def jobs(
        self, *, state: JobState | None = None, kind: JobKind | None = None, limit: int = 20
    ) -> list[AsyncJob]:
        """Return the newest jobs of this key, at most `limit`."""
        found = await self._session.run(self._session.calls.jobs(state, kind, limit))
        return [AsyncJob(self._session, one) for one in found]

    async def models(self) -> list[ModelCard]:
        """Return the cards of all models."""
        return await self._session.run(self._session.calls.models())

    async def model(self, name: str) -> ModelCard:
        """Return the card of `name` or `name@version`."""
        return await self._session.run(self._session.calls.model(name))

    async def _submit(
        self, path: str, body: bytes, key: str | None, params: dict[str, str] | None = None
    ) -> AsyncJob:
        return AsyncJob(
            self._session,
            await self._session.run(self._session.calls.submit(path, body, key, params)),
        )
