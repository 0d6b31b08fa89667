"""The presence key of a worker: it is alive, and these models are loaded."""

from __future__ import annotations

import os
import socket
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from cdvae_schema.wire import PRESENCE_TTL, WORKERS_KEY, WorkerPresence, worker_key

if TYPE_CHECKING:
    from redis import Redis

RENEW_EVERY = 2.0  # s; several renewals fit into the time to live

PresenceState = Literal["starting", "idle", "busy"]


class Heartbeat:
    """Writes the presence key of the worker `name`, at every change and every few seconds."""

    def __init__(self, connection: Redis, name: str, metrics_error: str = "") -> None:
        self._connection = connection
        self._metrics_error = metrics_error
        self._name = name
        self._started = datetime.now(UTC)
        self._renewed = 0.0
        self.state: PresenceState = "starting"
        self.models: list[str] = []
        self.device = ""
        self.relax = False

    def announce(self) -> None:
        """Write the key now."""
        presence = WorkerPresence(
            name=self._name,
            state=self.state,
            models=self.models,
            device=self.device,
            hostname=socket.gethostname(),
            pid=os.getpid(),
            started_at=self._started,
            relax=self.relax,
            metrics_error=self._metrics_error,
        )
        with self._connection.pipeline() as pipeline:
            pipeline.set(worker_key(self._name), presence.model_dump_json(), ex=PRESENCE_TTL)
            pipeline.sadd(WORKERS_KEY, self._name)
            pipeline.execute()
        self._renewed = time.monotonic()

    def renew(self) -> None:
        """Write the key if it is older than `RENEW_EVERY`."""
        if time.monotonic() - self._renewed >= RENEW_EVERY:
            self.announce()

    def leave(self) -> None:
        """Remove the key, because this worker ends."""
        with self._connection.pipeline() as pipeline:
            pipeline.delete(worker_key(self._name))
            pipeline.srem(WORKERS_KEY, self._name)
            pipeline.execute()
