"""The client that waits for its answers."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
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


class Client:
    """A CDVAE service. Threads may share it; `with` closes its connections.

    url: of the service (CDVAE_SERVER, else this machine's port 8000); key: an API key
    (CDVAE_API_KEY); retries: how requests are repeated; timeout: seconds for one answer;
    transport: how requests travel, for proxies and tests.

    Every call may raise `RefusedError` or `UnreachableError` (see `cdvae_client.errors`).
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
        self._http = httpx2.Client(**http_options(url, key, timeout), transport=transport)
        self._calls = Calls(self._http, retries or Retries())

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
        self._http.close()

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
        prop: str,
        *,
        idempotency_key: str | None = None,
        **fields: Unpack[OptimizeFields],
    ) -> Job:
        """A job that improves a property of the model's card; fields as of `OptimizeRequest`.

        start: "dataset", "prior", or crystals as `reconstruct` takes them.
        """
        params = {"property": prop}
        return self._submit("/optimize", optimize_body(fields), idempotency_key, params)

    def job(self, job_id: str) -> Job:
        """A job that was submitted before, by whatever client."""
        return Job(self, self._run(self._calls.status(job_id)))

    def jobs(
        self, *, state: JobState | None = None, kind: JobKind | None = None, limit: int = 20
    ) -> list[Job]:
        """The newest jobs of this key, at most `limit`."""
        return [Job(self, one) for one in self._run(self._calls.jobs(state, kind, limit))]

    def models(self) -> list[ModelCard]:
        """The cards of all models."""
        return self._run(self._calls.models())

    def model(self, name: str) -> ModelCard:
        """The card of `name` or `name@version`."""
        return self._run(self._calls.model(name))

    def _submit(
        self, path: str, body: bytes, key: str | None, params: dict[str, str] | None = None
    ) -> Job:
        return Job(self, self._run(self._calls.submit(path, body, key, params)))

    def _run(self, flow: Flow[T]) -> T:
        """What a flow returns once all of its steps are done."""
        reply: Reply = None
        while True:
            try:
                step = flow.send(reply)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(step, Pause):
                time.sleep(step.seconds)
                reply = None
                continue
            try:
                reply = self._http.send(step)
            except httpx2.TransportError as error:
                reply = error


class Job:
    """A job of a service; iterating gives its crystals as they are made.

    status: what was last heard of it.
    """

    def __init__(self, client: Client, status: JobStatus) -> None:
        self._client = client
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
        self.status = self._client._run(self._client._calls.status(self.id))
        return self.status

    def finish(self, timeout: float | None = None, *, progress: Progress = False) -> JobStatus:
        """The state once the job is over; progress: True for a bar, or what to tell.

        Raises JobFailedError, JobCancelledError, and WaitTimeoutError after `timeout` seconds.
        """
        with shown(progress) as told:
            self.status = self._client._run(self._client._calls.end(self.id, timeout, told))
        raise_unless_whole(self.status)
        return self.status

    def wait(self, timeout: float | None = None, *, progress: Progress = False) -> Result:
        """The result, once the job is over; as `finish`."""
        self.finish(timeout, progress=progress)
        return self.result()

    def result(self) -> Result:
        """The result of a finished or cancelled job, without waiting: ConflictError before."""
        return self._client._run(self._client._calls.result(self.id))

    def read(self, form: Form) -> bytes:
        """The result in one of the service's forms."""
        return self._client._run(self._client._calls.download(self.id, form))

    def download(self, path: str | Path, form: Form = "zip") -> Path:
        """Write the result into a file, in one of the service's forms; returns the path."""
        Path(path).write_bytes(self.read(form))
        return Path(path)

    def cancel(self) -> JobStatus:
        """Ask for the end of the job; what it has made is kept."""
        self.status = self._client._run(self._client._calls.cancel(self.id))
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
                yield from self._client._run(polled(self._client._calls, follower, told))
        self.status = follower.status
        raise_unless_whole(self.status)

    def _connection(self, follower: Follower) -> Iterator[AnyCrystal | None]:
        """What one connection's events bring: a crystal, or None for anything else."""
        http = self._client._http
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
