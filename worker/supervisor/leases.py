"""Takes and returns leases of jobs; see `cdvae_service.jobstore.ledger`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

from redis import Redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from cdvae_schema.job_specs import JobError
from cdvae_service.jobstore.ledger import now, pairs, source

Verdict = Literal["return", "retry", "fail"]

REDIS_SECONDS = 5.0  # s that one call may take
RETRIES, RETRY_SECONDS = 4, 0.25  # a restart of Redis is bridged without an error


def connect(url: str) -> Redis:
    """Return a client that bridges a short outage of Redis and does not hang in a longer one.

    Redis may have carried out a command that is repeated; the scripts allow for that.
    """
    return Redis.from_url(
        url,
        socket_timeout=REDIS_SECONDS,
        socket_connect_timeout=REDIS_SECONDS,
        retry=Retry(ConstantBackoff(RETRY_SECONDS), RETRIES),
    )


class Leases:
    """Takes and returns jobs for the worker `worker`."""

    def __init__(self, connection: Redis, worker: str) -> None:
        self._connection, self._worker = connection, worker
        self._take = connection.register_script(source("take"))
        self._settle = connection.register_script(source("settle"))
        self._rescue = connection.register_script(source("rescue"))
        self._presences = connection.register_script(source("presences"))

    def take(self, queues: Sequence[str], known: Collection[str] = ()) -> str | None:
        """Return the id of the next job, now leased to the worker; None if no job waits.

        known: the jobs that the worker has. If the ledger holds another lease of the worker, its
        answer was lost, and that job is returned.
        """
        found = self._take(args=[self._worker, len(known), *known, *queues])
        return None if found is None else bytes(found).decode()

    def settle(self, job_id: str, verdict: Verdict, error: JobError | None = None) -> str:
        """End the lease; return what became of the job: see `resolve` in `lua/common.lua`."""
        problem = "" if error is None else error.model_dump_json()
        return bytes(self._settle(args=[job_id, self._worker, verdict, problem, *now()])).decode()

    def presences(self) -> list[bytes]:
        """Return the reply of the script `presences`, for `OrphanRecovery`."""
        return list(self._presences())

    def rescue(self, dead: str, error: JobError) -> list[tuple[str, str]]:
        """Return the jobs that the dead worker had, and what became of each."""
        return pairs(self._rescue(args=[dead, error.model_dump_json(), *now()]))
