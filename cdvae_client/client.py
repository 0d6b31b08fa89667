"""The client that waits for its answers."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Unpack

import httpx2

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
from cdvae_client.job import Job
from cdvae_client.session import Session
from cdvae_client.structure_conversion import Given
from cdvae_schema.cards import ModelCard
from cdvae_schema.job_specs import JobKind, JobState


class Client:
    """A CDVAE service. Threads may share it; `with` closes its connections.

    url: of the service (CDVAE_SERVER, else this machine's port 8000); key: an API key
    (CDVAE_API_KEY); retries: how requests are repeated; timeout: seconds for one answer;
    transport: how requests travel, for proxies and tests.

    Every call may raise `RefusedError` or `UnreachableError` (see `cdvae_client.client_errors`).
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        retries: Retries | None = None,
        timeout: float = TIMEOUT,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        http = httpx2.Client(**http_options(url, key, timeout), transport=transport)
        self._session = Session(http, retries or Retries())

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._session.http.close()

    def generate(
        self, *, idempotency_key: str | None = None, **fields: Unpack[GenerateFields]
    ) -> Job:
        """A job that samples new crystals; the fields are those of `GenerateRequest`.

        idempotency_key: the same key with the same fields is the same job, however often it is
        sent; by default every call is a job of its own.
        """
        return self._submit("/generate", generate_body(fields), idempotency_key)

    def reconstruct(
        self,
        structures: Given | Iterable[Given],
        *,
        idempotency_key: str | None = None,
        **fields: Unpack[ReconstructFields],
    ) -> Job:
        """A job that encodes and decodes given crystals; fields as of `ReconstructRequest`.

        structures: one or several of: CIF text, the path of a CIF file, pymatgen's `Structure` or
        its dictionary, ASE's `Atoms`, a crystal of an earlier job.
        """
        return self._submit("/reconstruct", reconstruct_body(structures, fields), idempotency_key)

    def optimize(
        self,
        prop: str | None = None,
        *,
        idempotency_key: str | None = None,
        **fields: Unpack[OptimizeFields],
    ) -> Job:
        """A job that improves properties of the model's card; fields as of `OptimizeRequest`.

        prop: the first of them; None where `objectives` has all. start: "dataset", "prior", or
        crystals as `reconstruct` takes them.
        """
        params = None if prop is None else {"property": prop}
        return self._submit("/optimize", optimize_body(fields), idempotency_key, params)

    def interpolate(
        self,
        structures: Given | Iterable[Given],
        *,
        idempotency_key: str | None = None,
        **fields: Unpack[InterpolateFields],
    ) -> Job:
        """A job that walks from one crystal to another; fields as of `InterpolateRequest`.

        structures: the two, as `reconstruct` takes them.
        """
        return self._submit("/interpolate", interpolate_body(structures, fields), idempotency_key)

    def vary(
        self,
        structure: Given,
        *,
        idempotency_key: str | None = None,
        **fields: Unpack[VaryFields],
    ) -> Job:
        """A job that makes crystals like a given one; fields as of `VaryRequest`."""
        return self._submit("/variations", vary_body(structure, fields), idempotency_key)

    def job(self, job_id: str) -> Job:
        """A job that was submitted before, by whatever client."""
        return Job(self._session, self._session.run(self._session.calls.status(job_id)))

    def jobs(
        self, *, state: JobState | None = None, kind: JobKind | None = None, limit: int = 20
    ) -> list[Job]:
        """The newest jobs of this key, at most `limit`."""
        return [
            Job(self._session, one)
            for one in self._session.run(self._session.calls.jobs(state, kind, limit))
        ]

    def models(self) -> list[ModelCard]:
        """The cards of all models."""
        return self._session.run(self._session.calls.models())

    def model(self, name: str) -> ModelCard:
        """The card of `name` or `name@version`."""
        return self._session.run(self._session.calls.model(name))

    def _submit(
        self, path: str, body: bytes, key: str | None, params: dict[str, str] | None = None
    ) -> Job:
        return Job(
            self._session, self._session.run(self._session.calls.submit(path, body, key, params))
        )
