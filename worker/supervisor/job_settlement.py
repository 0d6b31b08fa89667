"""The ends of jobs: those of this worker and those that dead workers left."""

from __future__ import annotations

import logging
import time

from redis import Redis
from redis.exceptions import RedisError

from cdvae_schema.job_specs import JobError
from cdvae_service.jobstore.ledger import ENDED, LOST
from cdvae_service.jobstore.orphan_recovery import OrphanRecovery
from cdvae_service.jobstore.rq_adapter import AllowedJob
from worker.supervisor.leases import Leases, Verdict
from worker.supervisor.stop_signal import StopSignal
from worker.supervisor.worker_metrics import WorkerMetrics

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.5  # s between two tries while Redis does not answer
RECOVER_EVERY = 1.0  # s between two looks for dead workers


class JobSettlement:
    """Ends leases and counts the jobs that end with them."""

    def __init__(
        self, connection: Redis, leases: Leases, metrics: WorkerMetrics, stop: StopSignal
    ) -> None:
        self._connection = connection
        self._leases = leases
        self._metrics = metrics
        self._stop = stop
        self._recovery = OrphanRecovery()
        self._next_recovery = 0.0

    def settle(self, job_id: str, verdict: Verdict, error: JobError | None) -> None:
        """End the lease of a job; wait for Redis, because only this worker knows the end.

        A worker that has to stop does not wait: its jobs are recovered like those of a dead one.
        """
        while True:
            try:
                fate = self._leases.settle(job_id, verdict, error)
                break
            except RedisError as trouble:
                if self._stop.requested:
                    log.warning("job %s is left to other workers: %s", job_id, trouble)
                    return
                time.sleep(RETRY_SECONDS)
        if error is not None and fate != "over":  # "over": the job had ended before
            log.warning("job %s: %s: %s", job_id, fate, error.detail)
        if fate == "requeued":
            log.warning("job %s goes back to its queue", job_id)
        if fate in ENDED:
            self._count(job_id)

    def recover_orphans(self) -> None:
        """Return or fail the jobs of dead workers, at most once a second; raises RedisError."""
        now = time.monotonic()
        if now < self._next_recovery:
            return
        self._next_recovery = now + RECOVER_EVERY
        for name in self._recovery.dead(self._leases.presences()):
            for job_id in self._recovery.ended(name, self._leases.rescue(name, LOST)):
                self._count(job_id)

    def _count(self, job_id: str) -> None:
        try:
            self._metrics.job_ended(AllowedJob.unread(job_id, self._connection))
        except RedisError as error:
            log.warning("job %s is not counted: %s", job_id, error)
