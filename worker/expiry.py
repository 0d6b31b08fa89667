"""Result folders go when their time is over; the jobs in Redis expire by themselves."""

from __future__ import annotations

import logging
import shutil
import time
from pathlib import Path

from redis import Redis
from rq.job import Job

from schema.results import results_root

log = logging.getLogger(__name__)

EVERY = 600.0  # s


class Expiry:
    """Removes the results of jobs that Redis has forgotten and that are older than `ttl` seconds.

    Both must hold: a job's folder may appear before its first chunk, and an emptied Redis must not
    take the results of the last days with it.
    """

    def __init__(self, connection: Redis, home: Path, ttl: int) -> None:
        self._connection, self._root, self._ttl = connection, results_root(home), ttl
        self._next = 0.0

    def run(self) -> None:
        """Look through the results, at most every ten minutes."""
        if time.monotonic() < self._next or not self._root.is_dir():
            return
        self._next = time.monotonic() + EVERY
        for folder in self._root.iterdir():
            if self._is_over(folder):
                shutil.rmtree(folder, ignore_errors=True)
                log.info("removed the results of job %s", folder.name)

    def _is_over(self, folder: Path) -> bool:
        try:
            age = time.time() - folder.stat().st_mtime
        except FileNotFoundError:  # another worker was faster
            return False
        return age > self._ttl and not self._connection.exists(Job.key_for(folder.name))
