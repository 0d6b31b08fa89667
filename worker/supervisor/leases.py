"""Takes and returns leases of jobs; see `cdvae_service.jobstore.ledger`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Literal

from redis import Redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from rq.utils import as_text

from cdvae_schema.job_specs import JobError
from cdvae_schema.wire import LEASES_KEY, WORKERS_KEY, worker_key
from cdvae_service.jobstore.ledger import now, source

Verdict = Literal["return", "retry", "fail"]

REDIS_SECONDS = 5.0  # s that one call may take
RETRIES, RETRY_SECONDS = 4, 0.25  # a restart of Redis is bridged without an error


def connect(url: str) -> Redis:
    """A client that bridges a short absence of Redis and does not hang in a longer one.

    Whatever is repeated may have been carried out the first time: the scripts allow for that.
    """
    return Redis.from_url(
        url,
        socket_timeout=REDIS_SECONDS,
        socket_connect_timeout=REDIS_SECONDS,
        retry=Retry(ConstantBackoff(RETRY_SECONDS), RETRIES),
    )


class Leases:
    """Takes and gives back jobs in the name of `worker`."""

    def __init__(self, connection: Redis, worker: str) -> None:
        self._connection, self._worker = connection, worker
        self._take = connection.register_script(source("take"))
        self._settle = connection.register_script(source("settle"))
        self._rescue = connection.register_script(source("rescue"))

    def take(self, queues: Sequence[str], known: Collection[str] = ()) -> str | None:
        """The id of the next job, now leased to the worker; None where nothing waits.

        known: the jobs that the worker has; a lease beside them was granted before, and the answer
        was lost.
        """
        found = self._take(args=[self._worker, len(known), *known, *queues])
        return None if found is None else as_text(found)

    def settle(self, job_id: str, verdict: Verdict, error: JobError | None = None) -> str:
        """End the lease; says what became of the job: see `resolve` in `lua/common.lua`."""
        problem = "" if error is None else error.model_dump_json()
        return as_text(self._settle(args=[job_id, self._worker, verdict, problem, *now()]))

    def present(self) -> dict[str, bool]:
        """Every worker that announced itself or holds a job, and whether it shows signs of life."""
        with self._connection.pipeline(transaction=False) as pipeline:
            pipeline.smembers(WORKERS_KEY)
            pipeline.hvals(LEASES_KEY)
            members, holders = pipeline.execute()
        names = sorted({as_text(name) for name in (*members, *holders)})
        if not names:
            return {}
        presences = self._connection.mget([worker_key(name) for name in names])
        return {name: found is not None for name, found in zip(names, presences, strict=True)}

    def rescue(self, dead: str, error: JobError) -> list[tuple[str, str]]:
        """The jobs that the dead worker had, and what became of each."""
        answer: list[Any] = self._rescue(args=[dead, error.model_dump_json(), *now()])
        texts = [as_text(item) for item in answer]
        return list(zip(texts[::2], texts[1::2], strict=True))
