"""Messages of the executor arrive one at a time, and none is lost at its end."""

import os
import signal
import sys
from collections.abc import Iterator

import pytest

from worker.supervisor.executor_process import ExecutorDiedError, ExecutorProcess

TALKER = """
import os, sys
pipe = int(sys.argv[1])
os.write(pipe, b'{"event": 1}\\n{"event": 2}\\n{"eve')
sys.stdin.readline()  # its configuration
sys.stdin.readline()
os.write(pipe, b'nt": 3}\\n')
sys.stdin.readline()
os.write(pipe, b'{"event": 4}\\n')
sys.exit(7)
"""


@pytest.fixture
def talker() -> Iterator[ExecutorProcess]:
    executor = ExecutorProcess((sys.executable, "-c", TALKER), {}, os.environ)
    yield executor
    executor.close()


def test_messages_come_one_by_one(talker: ExecutorProcess) -> None:
    assert talker.receive(30) == {"event": 1}
    assert talker.receive(0) == {"event": 2}  # it came with the first
    assert talker.receive(0.05) is None  # half a message does not count
    talker.send({})
    assert talker.receive(30) == {"event": 3}


def test_the_last_message_arrives_before_the_end(talker: ExecutorProcess) -> None:
    talker.send({})
    talker.send({})
    assert [talker.receive(30) for _ in range(4)] == [{"event": n} for n in (1, 2, 3, 4)]
    with pytest.raises(ExecutorDiedError) as death:
        talker.receive(30)
    assert death.value.status == 7


def test_a_killed_executor_is_noticed(talker: ExecutorProcess) -> None:
    assert talker.receive(30) == {"event": 1}
    os.kill(talker.pid, signal.SIGKILL)
    assert talker.receive(0) == {"event": 2}
    with pytest.raises(ExecutorDiedError, match="SIGKILL"):
        talker.receive(30)
