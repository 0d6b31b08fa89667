"""The supervisor's link to its executor: start, messages, end."""

from __future__ import annotations

import time
from collections.abc import Callable

from worker.executor_protocol import Message
from worker.supervisor.executor_process import ExecutorDiedError, ExecutorProcess
from worker.supervisor.heartbeat import Heartbeat
from worker.supervisor.worker_metrics import WorkerMetrics


class ExecutorStartError(RuntimeError):
    """The executor did not get ready; the log says why.

    status: its exit status, os.EX_CONFIG where another try cannot help.
    """

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


class ExecutorLink:
    """Holds at most one executor and passes the facts in its messages to metrics and heartbeat.

    start: starts an executor. load_timeout: the longest time until it is ready, s.
    """

    def __init__(
        self,
        start: Callable[[], ExecutorProcess],
        load_timeout: float,
        metrics: WorkerMetrics,
        heart: Heartbeat,
    ) -> None:
        self._start = start
        self._load_timeout = load_timeout
        self._metrics = metrics
        self._heart = heart
        self._process: ExecutorProcess | None = None
        self._load_until = 0.0

    def load(self, seconds: float) -> bool:
        """Start an executor unless there is one; return whether it is ready within `seconds`.

        Raises ExecutorStartError if it ends or takes too long.
        """
        if self._process is None:
            self._process = self._start()
            self._load_until = time.monotonic() + self._load_timeout
        try:
            self.listen(seconds)
        except ExecutorDiedError as death:
            text = f"the executor did not start: {death}"
            raise ExecutorStartError(text, death.status) from death
        if not self._process.ready and time.monotonic() > self._load_until:
            raise ExecutorStartError(f"no model loaded in {self._load_timeout:.0f} s")
        return self._process.ready

    def listen(self, seconds: float) -> str | None:
        """Handle the next message, if one arrives within `seconds`; return the job that it ends.

        It handles only one: the end of a batch ends a hundred jobs, each a millisecond's work, and
        an urgent job must not wait for all of them. Raises ExecutorDiedError.
        """
        message = None if self._process is None else self._process.receive(seconds)
        if message is None:
            return None
        event = message["event"]
        if event in ("ready", "done", "models"):
            assert self._process is not None
            self._process.ready = True
            self._metrics.know(message["models"])
            self._heart.models = message["models"]
            self._heart.device = message["device"]
            self._heart.relax = message["relax"]
        elif event == "chunk":
            self._metrics.chunk_done(message)
        elif event == "batch":
            self._metrics.batch_started(message["crystals"])
        return str(message["job"]) if event == "done" else None

    def check(self) -> None:
        """Raise ExecutorDiedError if the executor ended while no job ran: no job is to blame."""
        assert self._process is not None
        self.listen(0.0)
        if not self._process.alive():
            raise ExecutorDiedError(self._process.kill())

    def send(self, message: Message) -> None:
        """Send a message; raises ExecutorDiedError."""
        assert self._process is not None
        self._process.send(message)

    def kill(self) -> None:
        """Kill the executor."""
        if self._process is not None:
            self._process.kill()
            self.close()

    def close(self) -> None:
        """End the executor and free its pipe; `load` starts another one."""
        if self._process is not None:
            self._process.close()
            self._process = None
