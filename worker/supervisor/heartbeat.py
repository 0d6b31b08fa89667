"""How a worker tells the world that it is alive and which models it has loaded."""

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

State = Literal["starting", "idle", "busy"]


class Heartbeat:
    """The presence key of the worker `name`; every change and every few seconds it is renewed."""

    def __init__(self, connection: Redis, name: str) -> None:
        self._connection = connection
        self._name = name
        self._started = datetime.now(UTC)
        self._renewed = 0.0
        self.state: State = "starting"
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
        )
        with self._connection.pipeline() as pipeline:
            pipeline.set(worker_key(self._name), presence.model_dump_json(), ex=PRESENCE_TTL)
            pipeline.sadd(WORKERS_KEY, self._name)
            pipeline.execute()
        self._renewed = time.monotonic()

    def renew(self) -> None:
        """Write the key if it is time to."""
        if time.monotonic() - self._renewed >= RENEW_EVERY:
            self.announce()

    def leave(self) -> None:
        """Remove the key: this worker is gone."""
        with self._connection.pipeline() as pipeline:
            pipeline.delete(worker_key(self._name))
            pipeline.srem(WORKERS_KEY, self._name)
            pipeline.execute()
