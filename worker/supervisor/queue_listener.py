"""Waiting for jobs without polling the queues."""

from __future__ import annotations

import contextlib
from typing import Any

from redis import Redis

from cdvae_schema.wire import QUEUED_CHANNEL


class QueueListener:
    """Waits until a job joins a queue.

    `open` it before you look at the queues: then `wait` returns at once for a job that joins
    between the look and the wait.
    """

    def __init__(self, connection: Redis) -> None:
        self._connection = connection
        self._pubsub: Any = None

    def open(self) -> None:
        """Subscribe, unless that is done."""
        if self._pubsub is None:
            self._pubsub = self._connection.pubsub(  # type: ignore[no-untyped-call]
                ignore_subscribe_messages=True
            )
            self._pubsub.subscribe(QUEUED_CHANNEL)
            self._pubsub.get_message(timeout=1.0)  # the confirmation

    def wait(self, seconds: float) -> None:
        """Return when a job is announced, or after `seconds`."""
        self._pubsub.get_message(timeout=seconds)

    def close(self) -> None:
        """Unsubscribe; `open` may follow."""
        if self._pubsub is not None:
            with contextlib.suppress(Exception):  # Redis may be the reason for closing
                self._pubsub.close()
            self._pubsub = None
