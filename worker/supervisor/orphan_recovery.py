"""Jobs that a dead worker left behind: none stays `running` for ever.

RQ notices an abandoned job after about a minute. Our workers renew a presence key every few
seconds (`cdvae_schema.wire`), and every worker, like every front end, looks after those that stop.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from cdvae_service.jobstore.ledger import ENDED, LOST, FailureDetector
from worker.supervisor.leases import Leases

log = logging.getLogger(__name__)

EVERY = 1.0  # s


class OrphanRecovery:
    """Has the jobs of dead workers tried again, or failed where that was done before.

    ended: told the id of every job that has ended, of which nobody else is told.
    """

    def __init__(self, ledger: Leases, ended: Callable[[str], None]) -> None:
        self._ledger = ledger
        self._ended = ended
        self._absences = FailureDetector()
        self._next = 0.0

    def run(self) -> None:
        """Look for the dead, at most once a second."""
        moment = time.monotonic()
        if moment < self._next:
            return
        self._next = moment + EVERY
        for name in self._absences.dead(self._ledger.present(), moment):
            for job_id, fate in self._ledger.rescue(name, LOST):
                log.warning("worker %s is dead; its job %s: %s", name, job_id, fate)
                if fate in ENDED:
                    self._ended(job_id)
