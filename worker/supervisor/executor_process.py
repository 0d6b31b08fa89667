"""The worker's side of its executor: a process that is started once and fed over a pipe.

The executor is spawned, not forked: forking after torch has started its threads hangs, and CUDA
does not survive it. `worker.executor_protocol` describes the messages. The executor ends when its
standard input closes, so it cannot outlive the worker.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence

from worker.executor_protocol import Message
from worker.supervisor.exit_status import describe_status
from worker.worker_settings import WorkerSettings

# -P keeps the working directory off the path.
EXECUTOR_COMMAND = (sys.executable, "-P", "-m", "worker.executor.executor")
EXIT_SECONDS = 5.0  # s until a process that should end is killed


class ExecutorDiedError(Exception):
    """The executor ended. status: its exit status."""

    def __init__(self, status: int) -> None:
        super().__init__(describe_status(status))
        self.status = status


class ExecutorProcess:
    """One running executor.

    command: its command line. config: its first message. environment: its whole environment.
    """

    def __init__(
        self, command: Sequence[str], config: Message, environment: Mapping[str, str]
    ) -> None:
        self._events, executor_end = os.pipe()
        try:
            self._process = subprocess.Popen(
                [*command, str(executor_end)],
                stdin=subprocess.PIPE,
                env=dict(environment),
                pass_fds=(executor_end,),
                process_group=0,
            )
        except BaseException:
            os.close(self._events)
            raise
        finally:
            os.close(executor_end)
        os.set_blocking(self._events, False)
        self._poll = select.poll()
        self._poll.register(self._events, select.POLLIN | select.POLLHUP)
        self._lines: deque[bytes] = deque()
        self._rest = b""  # a line that has not come to its end
        self.ready = False
        self.send(config)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def alive(self) -> bool:
        """Return whether the process runs."""
        return self._process.poll() is None

    def send(self, message: Message) -> None:
        """Send one message; raises ExecutorDiedError if the executor has ended."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ConnectionResetError):
            raise ExecutorDiedError(self._end()) from None

    def receive(self, timeout: float) -> Message | None:
        """Return the next message; None if none arrives within `timeout` seconds.

        Raises ExecutorDiedError when the executor has ended and all its messages were returned.
        """
        end = time.monotonic() + timeout
        while not self._lines:
            left = max(0.0, end - time.monotonic())
            if not self._poll.poll(left * 1000):
                return None
            chunk = os.read(self._events, 65536)
            if not chunk:
                raise ExecutorDiedError(self._end())
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            self._lines.extend(lines)
        message: Message = json.loads(self._lines.popleft())
        return message

    def _end(self) -> int:
        """Return the exit status of an executor that has closed its pipes."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(EXIT_SECONDS)
        return self.kill()

    def kill(self) -> int:
        """Kill the executor and its children, unless it has ended; return its exit status."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait()

    def close(self) -> None:
        """Close the input, wait some seconds for the end, then kill; free the pipe."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(EXIT_SECONDS)
        self.kill()
        os.close(self._events)


def start_executor(
    worker: str, settings: WorkerSettings, command: Sequence[str] = EXECUTOR_COMMAND
) -> ExecutorProcess:
    """Start an executor that runs jobs for the worker `worker`."""
    config = {"worker": worker, "settings": settings.model_dump(mode="json")}
    # Read when torch is imported. Waiting threads spin for a short time: where another process
    # wants a core too, endless spinning makes sampling three times slower, and sleeping at once
    # loses what the second thread gains on an idle machine.
    environment = os.environ | {
        "OMP_NUM_THREADS": str(settings.threads),
        "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "2000"),
    }
    return ExecutorProcess(command, config, environment)
