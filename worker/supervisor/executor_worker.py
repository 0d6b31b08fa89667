"""A worker with an executor: its start, its signals, its end."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from rq.exceptions import StopRequested
from rq.serializers import JSONSerializer
from rq.utils import now
from rq.worker import Worker
from typing_extensions import override

from worker.supervisor.allowed_job import AllowedJob
from worker.supervisor.executor_process import ExecutorDiedError, ExecutorProcess, Message
from worker.supervisor.failures import record_failure
from worker.supervisor.heartbeat import Heartbeat, State
from worker.supervisor.worker_metrics import WorkerMetrics
from worker.worker_settings import WorkerSettings

log = logging.getLogger(__name__)

# -P keeps the working directory off the path.
EXECUTOR_COMMAND = (sys.executable, "-P", "-m", "worker.executor.executor")
WORKER_TTL = 20  # s
MAINTENANCE_INTERVAL = 2  # s
TICK = 0.5  # s between two looks at signals, time limits and heartbeats


class ExecutorStartError(RuntimeError):
    """The executor could not be made ready; the log says why.

    `status` is its exit status, os.EX_CONFIG where trying again cannot help.
    """

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


class ExecutorWorker(Worker):
    """An RQ worker whose executor is spawned once and kept, announced by its presence key."""

    job_class = AllowedJob

    def __init__(
        self,
        connection: Redis,
        settings: WorkerSettings,
        *,
        name: str,
        metrics: WorkerMetrics,
        executor_command: Sequence[str] = EXECUTOR_COMMAND,
    ) -> None:
        super().__init__(
            list(settings.queues),
            name=name,
            connection=connection,
            job_class=AllowedJob,
            serializer=JSONSerializer,
            worker_ttl=WORKER_TTL,
            maintenance_interval=MAINTENANCE_INTERVAL,
            log_job_description=False,
            exception_handlers=[record_failure],
        )
        self.settings = settings
        self.metrics = metrics
        self.heart = Heartbeat(connection, name, metrics.error)
        self._executor_command = tuple(executor_command)
        self._executor: ExecutorProcess | None = None
        self._grace = float(settings.shutdown_grace)

    @property
    def asked_to_stop(self) -> bool:
        """Whether a signal ended, or will end, the work."""
        return self._shutdown_requested_date is not None

    @override  # RQ calls it
    def bootstrap(self, *args: Any, **kwargs: Any) -> None:
        """Announce the worker, then load the models; jobs are taken only when that is done."""
        self._install_signal_handlers()  # type: ignore[no-untyped-call]
        super().bootstrap(*args, **kwargs)
        self._announce("starting")
        self._ensure_executor()

    @override  # RQ calls it
    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Keep RQ's registration and our presence alive."""
        super().heartbeat(timeout, pipeline)
        self.heart.renew()

    @override  # RQ calls it
    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """The handler of SIGTERM and SIGINT; a second one takes a running job's grace away.

        It only takes note. RQ's own handler raises in whatever is being done, so that a job just
        taken off the queue is lost, and talks to Redis, which deadlocks inside another call.
        """
        if self._shutdown_requested_date is None:
            self._shutdown_requested_date = now()
        elif (now() - self._shutdown_requested_date).total_seconds() > 1.0:
            self._grace = 0.0
        self._stop_requested = True

    def _ensure_executor(self) -> None:
        """Return when an executor is ready for jobs; raises ExecutorStartError otherwise."""
        if self._executor is not None and self._executor.alive() and self._executor.ready:
            return
        self._drop_executor()
        self._announce("starting")
        config = {"worker": self.name, "settings": self.settings.model_dump(mode="json")}
        executor = self._executor = ExecutorProcess(
            self._executor_command, config, self._environment()
        )
        end = time.monotonic() + self.settings.load_timeout
        try:
            while not executor.ready:
                message = executor.receive(TICK)
                if message is not None:
                    self._handle(message)
                self.heartbeat()
                if self._stop_requested:
                    raise StopRequested
                if time.monotonic() > end:
                    raise ExecutorStartError(
                        f"no model loaded in {self.settings.load_timeout:.0f} s"
                    )
        except ExecutorDiedError as death:
            self._drop_executor()
            raise ExecutorStartError(
                f"the executor could not start: {death}", death.status
            ) from death

    def _environment(self) -> dict[str, str]:
        # Read when torch is imported. Threads that wait spin for a short time only: where another
        # process wants a core too, endless spinning makes sampling three times slower, and sleeping
        # at once loses what the second thread gains on an idle machine.
        return os.environ | {
            "OMP_NUM_THREADS": str(self.settings.threads),
            "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "2000"),
        }

    def _handle(self, message: Message) -> str:
        """Take note of one message of the executor; its name."""
        event = str(message["event"])
        if event in ("ready", "done", "models"):
            assert self._executor is not None
            self._executor.ready = True
            self.metrics.know(message["models"])
            self.heart.models = message["models"]
            self.heart.device = message["device"]
            self.heart.relax = message["relax"]
        elif event == "chunk":
            self.metrics.chunk_done(message)
        elif event == "batch":
            self.metrics.batch_started(message["crystals"])
        return event

    def _listen(self, seconds: float) -> None:
        """Take note of the next thing that the executor says, if it does so within so many seconds.

        Of one thing: what ends a batch ends a hundred jobs, each a millisecond's work, and an
        urgent job shall not wait for all of them. Raises ExecutorDiedError if it died.
        """
        message = None if self._executor is None else self._executor.receive(seconds)
        if message is not None:
            self._handle(message)

    def _announce(self, state: State) -> None:
        self.heart.state = state
        if state == "starting":
            self.heart.models = []
        self.heart.announce()

    @override  # RQ calls it
    def kill_horse(self, sig: int = 9) -> None:
        """Kill the executor: RQ's cold shutdown and its command `kill-horse` call this."""
        if self._executor is not None:
            self._executor.kill()

    @override  # RQ calls it
    def wait_for_horse(self) -> tuple[None, None, None]:
        """Return at once: RQ waits after its kill, but the kill has waited already."""
        return None, None, None

    def _kill_executor(self) -> None:
        self.kill_horse()
        self._drop_executor()

    def _drop_executor(self) -> None:
        if self._executor is not None:
            self._executor.close()
            self._executor = None

    @override  # RQ calls it
    def teardown(self) -> None:
        """Leave no process and no registration behind."""
        self._drop_executor()
        try:
            self.heart.leave()
            super().teardown()  # type: ignore[no-untyped-call]
        except RedisError as error:
            log.warning("could not sign off: Redis does not answer (%s)", error)
