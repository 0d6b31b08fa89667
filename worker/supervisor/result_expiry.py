"""Removal of results after their time to live; Redis removes the jobs itself."""

from __future__ import annotations

import logging
import threading
import time

from redis import Redis
from redis.exceptions import RedisError

from cdvae_service.jobstore.rq_adapter import job_key
from cdvae_service.results.result_store import ResultStore, ResultStoreError

log = logging.getLogger(__name__)

EVERY = 600.0  # s


class ResultExpiry:
    """Removes the results of jobs that Redis has forgotten and that are older than `ttl` seconds.

    Both conditions are needed: a job's folder may appear before its first chunk, and the results of
    the last days must survive the loss of Redis.

    A sweep lists every stored result, which takes minutes in a large object store. It therefore
    runs in a thread, and never delays the heartbeat of the worker.
    """

    def __init__(self, connection: Redis, store: ResultStore, ttl: int) -> None:
        self._connection, self._store, self._ttl = connection, store, ttl
        self._next = 0.0
        self._sweep: threading.Thread | None = None

    def run(self) -> None:
        """Start a sweep if the last one began ten minutes ago and has ended; return at once."""
        if time.monotonic() < self._next or (self._sweep is not None and self._sweep.is_alive()):
            return
        self._next = time.monotonic() + EVERY
        self._sweep = threading.Thread(target=self.sweep, name="result-expiry", daemon=True)
        self._sweep.start()

    def sweep(self) -> None:
        """Remove all results that have expired."""
        try:
            for job_id, age in self._store.ages():
                if age > self._ttl and not self._connection.exists(job_key(job_id)):
                    self._store.remove(job_id)
                    log.info("removed the results of job %s", job_id)
        except (ResultStoreError, RedisError, ValueError) as error:
            log.warning("cannot remove old results: %s", error)
