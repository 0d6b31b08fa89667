"""Progress and cancellation of all jobs of a process, in one round trip to Redis."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from redis import Redis
from redis.exceptions import RedisError

from cdvae_schema.wire import CANCEL_TTL, LEASES_KEY, cancel_key, changed_channel, progress_key
from worker.executor.job_control import JobControl

log = logging.getLogger(__name__)

EVERY = 0.2  # s
OUTAGE_SECONDS = 2.0  # s without Redis before it is tried again


class RedisSync:
    """Writes the progress of jobs and reads cancellations and leases, in one thread for all.

    Dozens of small jobs wait for a batch at a time; separate round trips took a fifth of the time
    that jobs spend in Python. An outage of Redis never stops a job.

    worker: the name of the worker that runs the jobs.
    """

    def __init__(self, connection: Redis, worker: str) -> None:
        self._connection = connection
        self._worker = worker.encode()
        self._controls: list[JobControl] = []
        self._written: WeakKeyDictionary[JobControl, dict[str, str]] = WeakKeyDictionary()
        self._changed = threading.Condition()
        # One at a time, so that older news cannot overwrite newer.
        self._syncing = threading.Lock()
        self._silent_until = float("-inf")
        threading.Thread(target=self._serve, name="sync", daemon=True).start()

    @contextmanager
    def track(self, control: JobControl) -> Iterator[None]:
        """Keep a job in sync within a `with` block.

        On entry it gets a cancellation that is already there; on exit its last progress is written.
        """
        self._sync([control])
        with self._changed:
            self._controls.append(control)
            self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._controls.remove(control)
            self._sync([control])

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not self._controls:
                    self._changed.wait()
            time.sleep(EVERY)
            with self._changed:
                controls = list(self._controls)
            if controls:
                self._sync(controls)

    def _sync(self, controls: Sequence[JobControl]) -> None:
        with self._syncing:
            if time.monotonic() < self._silent_until:
                return
            names = [control.job_id for control in controls]
            news = {
                control: progress
                for control in controls
                if (progress := control.progress()) != self._written.get(control)
                and not control.lost
            }
            try:
                with self._connection.pipeline(transaction=False) as pipeline:
                    pipeline.mget([cancel_key(name) for name in names])
                    pipeline.hmget(LEASES_KEY, names)
                    for control, progress in news.items():
                        _write(pipeline, control.job_id, progress, control.eta_seconds())
                    cancellations, holders, *_ = pipeline.execute()
            except RedisError as error:
                log.warning("jobs continue without Redis: %s", error)
                self._silent_until = time.monotonic() + OUTAGE_SECONDS
                return
            self._written.update(news)
        for control, cancel, holder in zip(controls, cancellations, holders, strict=True):
            control.update(cancel=cancel is not None, ours=holder == self._worker)


def _write(pipeline: Any, job_id: str, progress: dict[str, str], eta: str) -> None:
    key = progress_key(job_id)
    pipeline.hset(key, mapping={**progress, "eta_seconds": eta})
    pipeline.expire(key, CANCEL_TTL)
    pipeline.publish(changed_channel(job_id), "")
