"""Recovery of jobs whose worker died.

RQ notices an abandoned job after about a minute. Our workers renew a presence key every two
seconds, and every worker and every front end looks for workers that stopped doing so.
"""

import logging
import time
from collections.abc import Callable, Iterable

from cdvae_schema.wire import ABSENCE
from cdvae_service.jobstore.ledger import ENDED, pairs

log = logging.getLogger(__name__)


class FailureDetector:
    """Takes a worker for dead after its presence key was missing at every look for `ABSENCE` s.

    One look is not enough: a long restart of Redis, or a clock that is set forward, removes all
    presence keys at once, and live workers renew them within seconds.
    """

    def __init__(self) -> None:
        self._missing: dict[str, float] = {}

    def dead(self, present: dict[str, bool], moment: float) -> list[str]:
        """Return the dead among the workers. moment: the time of a monotonic clock, s."""
        self._missing = {
            name: self._missing.get(name, moment) for name, seen in present.items() if not seen
        }
        return [name for name, since in self._missing.items() if moment - since >= ABSENCE]


class OrphanRecovery:
    """Finds dead workers and reads what became of their jobs.

    Workers use a blocking client of Redis and front ends one of asyncio. The callers therefore run
    the scripts `presences` and `rescue`, and this class interprets their replies.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._detector = FailureDetector()
        self._clock = clock

    def dead(self, presences: Iterable[bytes]) -> list[str]:
        """Return the names of the dead workers. presences: the reply of the script `presences`."""
        present = {name: alive == "1" for name, alive in pairs(presences)}
        return self._detector.dead(present, self._clock())

    def ended(self, name: str, fates: Iterable[tuple[str, str]]) -> list[str]:
        """Return the jobs that have ended with a dead worker; the caller counts them.

        name: the worker. fates: its jobs and what became of each, the reply of the script `rescue`.
        """
        ended = []
        for job_id, fate in fates:
            log.warning("worker %s is dead; its job %s: %s", name, job_id, fate)
            if fate in ENDED:
                ended.append(job_id)
        return ended
