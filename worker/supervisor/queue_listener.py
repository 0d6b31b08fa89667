"""Waiting for work without asking for it all the time."""

from __future__ import annotations

import contextlib
from types import TracebackType

from redis import Redis

from cdvae_schema.wire import QUEUED_CHANNEL


class QueueListener:
    """Rings when a job joins a queue; for use in a `with` block.

    Whoever looks at the queues after entering the block misses nothing by waiting afterwards.
    """

    def __init__(self, connection: Redis) -> None:
        self._pubsub = connection.pubsub(  # type: ignore[no-untyped-call]
            ignore_subscribe_messages=True
        )

    def __enter__(self) -> QueueListener:
        self._pubsub.subscribe(QUEUED_CHANNEL)
        self._pubsub.get_message(timeout=1.0)  # the confirmation
        return self

    def wait(self, seconds: float) -> None:
        """Return when a job is announced, or after so many seconds."""
        self._pubsub.get_message(timeout=seconds)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with contextlib.suppress(Exception):  # Redis may be the reason for leaving
            self._pubsub.close()
