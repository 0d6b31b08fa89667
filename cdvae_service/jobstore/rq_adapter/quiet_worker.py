"""An RQ worker whose loop never runs."""

from __future__ import annotations

from collections.abc import Sequence

from redis import Redis
from rq.serializers import JSONSerializer
from rq.timeouts import TimerDeathPenalty
from rq.worker import BaseWorker
from typing_extensions import override

from cdvae_service.jobstore.rq_adapter.allowed_job import AllowedJob

WORKER_TTL = 20  # s


class QuietWorker(BaseWorker):
    """The parts of RQ's worker that need no loop: registration, heartbeats, running one job."""

    death_penalty_class = TimerDeathPenalty  # jobs run in threads, which receive no signals

    def __init__(self, connection: Redis, name: str, queues: Sequence[str], *, own: bool) -> None:
        """own: whether this process is the worker `name`, or runs a job for it."""
        super().__init__(
            list(queues),
            name=name,
            connection=connection,
            job_class=AllowedJob,
            serializer=JSONSerializer,
            worker_ttl=WORKER_TTL,
            prepare_for_work=own,
            log_job_description=False,
        )

    @override
    def _set_connection(self, connection: Redis) -> Redis:
        # RQ waits for jobs in blocking commands and raises the socket's time limit for them, up
        # to minutes, for all users of the connection pool. We use no blocking commands.
        return connection
