"""Result folders go when their time is over; the jobs in Redis expire by themselves."""

from __future__ import annotations

import logging
import time

from redis import Redis
from rq.job import Job

from cdvae_service.results.result_store import ResultStore, ResultStoreError

log = logging.getLogger(__name__)

EVERY = 600.0  # s


class ResultExpiry:
    """Removes the results of jobs that Redis has forgotten and that are older than `ttl` seconds.

    Both must hold: a job's folder may appear before its first chunk, and an emptied Redis must not
    take the results of the last days with it.
    """

    def __init__(self, connection: Redis, store: ResultStore, ttl: int) -> None:
        self._connection, self._store, self._ttl = connection, store, ttl
        self._next = 0.0

    def run(self) -> None:
        """Look through the results, at most every ten minutes."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + EVERY
        try:
            for job_id, age in self._store.ages():
                if age > self._ttl and not self._connection.exists(Job.key_for(job_id)):
                    self._store.remove(job_id)
                    log.info("removed the results of job %s", job_id)
        except ResultStoreError as error:
            log.warning("cannot remove old results: %s", error)
